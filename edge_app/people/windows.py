"""How long a run remembers: the windows of tracking and voting, in seconds, never too short for the rate of frames.

A window of 1.5 s holds dozens of frames of most cameras, but not the three votes of a verdict where a frame comes
every second. Then it is as long as so many frames take, and one line says so.
"""

import logging
from collections import deque

from edge_app.config.settings import TrackerSettings, VerdictSettings

UNSURE_AFTER_S = 2.0  # who is undecided for this long is told as unsure
_SEEN_FRAMES = 3  # a person may be missed in two frames in a row and is still the same
_INTERVALS = 8  # between the newest frames; their median is the rate, which an outage or a jump does not change
_SURE = 3  # intervals before anything is said of the rate

log = logging.getLogger(__name__)


class Windows:
    """The windows in force. Takes the time of each frame that is judged, so that any source and speed is one case.

    window_s: votes older than this are forgotten. lost_s: a person unseen for longer has left. unsure_after_s: a person
    undecided for this long is told as unsure.

    Args:
        tracker, verdict: the least of the first two, and the votes that a verdict takes.
        name: of the camera, for the warning.
    """

    def __init__(self, tracker: TrackerSettings, verdict: VerdictSettings, name: str) -> None:
        self._tracker, self._verdict, self._name = tracker, verdict, name
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._last: float | None = None
        self._told = False
        self._fit(0.0)

    def see(self, time: float) -> None:
        """Take in the time of the next frame, in seconds."""
        if self._last is not None:
            self._intervals.append(time - self._last)
            period = sorted(self._intervals)[(len(self._intervals) - 1) // 2]
            self._fit(period)
            self._tell(period)
        self._last = time

    def _fit(self, period: float) -> None:
        voting = self._verdict.min_votes * period
        self.window_s = max(self._verdict.window_s, voting)
        self.lost_s = max(self._tracker.lost_s, _SEEN_FRAMES * period)
        self.unsure_after_s = max(UNSURE_AFTER_S, voting)

    def _tell(self, period: float) -> None:
        if self._told or len(self._intervals) < _SURE:
            return
        longer = [
            f"{key} from {as_set:g} s to {now:.1f} s"
            for key, as_set, now in (
                ("verdict.window_s", self._verdict.window_s, self.window_s),
                ("tracker.lost_s", self._tracker.lost_s, self.lost_s),
            )
            if now > 1.1 * as_set  # less is not worth a word
        ]
        if longer:
            self._told = True
            rate = f"{self._name}: about {1 / period:.3g} fps"
            log.warning("%s is too slow for the windows of time, lengthened: %s", rate, ", ".join(longer))

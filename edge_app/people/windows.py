"""The time windows of tracking and voting, in seconds, adapted to slow frame rates.

A window of 1.5 s holds dozens of frames of most cameras, but at one frame a second not the three votes that a verdict
needs. Then it is lengthened to hold them, and one warning is logged.
"""

import logging
from collections import deque

from edge_app.config.settings import TrackerSettings, VerdictSettings

UNSURE_AFTER_S = 2.0  # a person undecided for this long gets an event with the label unsure
_SEEN_FRAMES = 3  # a track survives two missed frames in a row
_INTERVALS = 8  # between the newest frames; their median gives the rate, robust to outages and jumps
_SURE = 3  # intervals before a warning

log = logging.getLogger(__name__)


class Windows:
    """The windows in force, from the times of the frames that were processed, whatever the source and its speed.

    window_s: votes older than this expire. lost_s: a person unseen for longer has left. unsure_after_s: a person
    undecided for this long gets an event with the label unsure.

    Args:
        tracker, verdict: the minimum of the first two, and the votes that a verdict needs.
        name: of the camera, for the warning.
    """

    def __init__(self, tracker: TrackerSettings, verdict: VerdictSettings, name: str) -> None:
        self._tracker, self._verdict, self._name = tracker, verdict, name
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)
        self._last: float | None = None
        self._warned = False
        self._fit(0.0)

    def update(self, time: float) -> None:
        """Adapt the windows to the next frame; its time is in seconds."""
        if self._last is not None:
            self._intervals.append(time - self._last)
            period = sorted(self._intervals)[(len(self._intervals) - 1) // 2]
            self._fit(period)
            self._warn(period)
        self._last = time

    def _fit(self, period: float) -> None:
        voting = self._verdict.min_votes * period
        self.window_s = max(self._verdict.window_s, voting)
        self.lost_s = max(self._tracker.lost_s, _SEEN_FRAMES * period)
        self.unsure_after_s = max(UNSURE_AFTER_S, voting)

    def _warn(self, period: float) -> None:
        if self._warned or len(self._intervals) < _SURE:
            return
        longer = [
            f"{key} from {as_set:g} s to {now:.1f} s"
            for key, as_set, now in (
                ("verdict.window_s", self._verdict.window_s, self.window_s),
                ("tracker.lost_s", self._tracker.lost_s, self.lost_s),
            )
            if now > 1.1 * as_set  # less is not worth a warning
        ]
        if longer:
            self._warned = True
            rate = f"{self._name}: about {1 / period:.3g} fps"
            log.warning("%s is too slow for the windows of time, lengthened: %s", rate, ", ".join(longer))

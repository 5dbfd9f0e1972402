"""Presentation time: takes the time stamps of a stream, whatever they are, gives seconds that only rise."""

import logging
import math
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

JUMP_S = 10.0  # a gap of this length in a film is none of the film
BACK_S = 1.0  # so much backwards is a restart; less is disorder
LATE_S = 1.0  # a live frame this late, or early, shows that the stamps have lost the clock
WAIT_S = 10.0  # the longest wait for a frame of a burst


class FileClock:
    """The time of a film from its first frame on.

    Stamps that stand still or run back a little are replaced by the frame rate; jumps, restarts and wraps are bridged,
    and told once.

    Args:
        step_s: seconds a frame, by the frame rate.
        display: name of the source.
    """

    def __init__(self, step_s: float, display: str) -> None:
        self._step_s, self._display = step_s, display
        self._longest = max(JUMP_S, 30 * step_s)
        self._last: float | None = None
        self._origin = 0.0
        self._told = False

    def time(self, stamp: float | None) -> float:
        """stamp: seconds; None or NaN where there is none."""
        if stamp is None or not math.isfinite(stamp):
            stamp = None
        if self._last is None:
            self._last, self._origin = 0.0, stamp or 0.0
            return 0.0
        following = self._last + self._step_s
        if stamp is None:
            self._last = following
            return following
        now = stamp - self._origin
        if now - self._last > self._longest or self._last - now > BACK_S:
            if not self._told:
                log.warning("%s: its time stamps jump by %+.1f s: bridged", self._display, now - following)
                self._told = True
            self._origin = stamp - following
            now = following
        self._last = now if now > self._last else following
        return self._last


class LiveClock:
    """The time of a live stream in seconds of the monotonic clock: its stamps, held to the time of arrival.

    Args:
        stamped: the stamps are a clock; else the time of arrival counts.
        paced: frames that arrive before their time, as those of a segment of HLS, are waited for.
        clock, sleep: monotonic seconds.
    """

    def __init__(
        self,
        stamped: bool = True,
        paced: bool = False,
        clock: Callable[[], float] = lambda: time.monotonic(),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stamped, self._paced, self._clock, self._sleep = stamped, paced, clock, sleep
        self._offset: float | None = None

    def time(self, stamp: float | None) -> float:
        """Wait for the frame's time, if it is to be waited for, and give it. stamp: as `FileClock.time`."""
        now = self._clock()
        if not self._stamped or stamp is None or not math.isfinite(stamp):
            return now
        if self._offset is None:
            self._offset = now - stamp
        early = stamp + self._offset - now
        if early > (WAIT_S if self._paced else 0.0) or early < -LATE_S:
            self._offset, early = now - stamp, 0.0
        if early > 0:
            self._sleep(early)
        return stamp + self._offset

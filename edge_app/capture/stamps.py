"""Presentation time: takes the time stamps of a stream, whatever they are, gives seconds that only rise."""

import logging
import math
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

JUMP_S = 10.0  # a gap of this length in a film is none of the film
BACK_S = 1.0  # so much backwards is a restart; less is disorder
LIVE_JUMP_S = 1.0  # a gap of this length in a live stream is a part that has been skipped
UNUSUAL = 3  # times the gap before: any gap is usual in a stream that has only such gaps
LATE_S = 1.0  # frames this late are the rule from now on, and no delay of the network
DRIFT = 0.002  # how much slower than ours a camera's clock may be
WAIT_S = 10.0  # the longest wait for a frame of a burst
WAITED_S = 0.005  # data that took longer was not there yet when it was asked for
BACKLOG_S = 60.0  # who never waited for data in this time is behind


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
        self._stamp = self._gap = self._origin = 0.0
        self._told = False

    def time(self, stamp: float | None) -> float:
        """The time of the next frame. stamp: seconds; None or NaN where there is none."""
        following = 0.0 if self._last is None else self._last + self._step_s
        if stamp is None or not math.isfinite(stamp):
            self._last = following
            self._stamp += self._step_s  # where the next one is expected
            return following
        if self._last is None:
            self._last, self._stamp, self._origin = 0.0, stamp, stamp
            return 0.0
        gap, self._stamp = stamp - self._stamp, stamp
        if gap < -BACK_S or gap > max(self._longest, UNUSUAL * self._gap):
            if not self._told:
                log.warning("%s: its time stamps jump by %+.1f s: bridged", self._display, gap - self._step_s)
                self._told = True
            self._origin = stamp - following
        self._gap = gap
        now = stamp - self._origin
        self._last = now if now > self._last else following
        return self._last


class LiveClock:
    """The time of a live stream in seconds of the monotonic clock: its stamps, held to the time of arrival.

    A paced source sends in bursts, as HLS does, or has a backlog when it is opened: the time of a frame may lie ahead
    then, and whoever reads waits until it comes. The delay grows to what the bursts need.

    Args:
        stamped: the stamps are a clock; else the time of arrival counts.
        paced: frames may come before their time.
        catches_up: of a paced source, what has piled up is given at once, when it is opened and later.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        stamped: bool = True,
        paced: bool = False,
        catches_up: bool = False,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        self._stamped, self._paced, self._catches_up, self._clock = stamped, paced, catches_up, clock
        self._behind = catches_up
        self._offset: float | None = None
        self._stamp = self._gap = self._waited_at = 0.0

    def time(self, stamp: float | None, waited_s: float = 0.0) -> float:
        """The time of the next frame. stamp: as `FileClock.time`; waited_s: how long its data was waited for."""
        now = self._clock()
        if not self._stamped or stamp is None or not math.isfinite(stamp):
            return now
        if self._offset is None:
            self._offset, self._stamp, self._waited_at = now - stamp, stamp, now
            return now
        gap, self._stamp = stamp - self._stamp, stamp
        jumped = gap <= 0 or gap > max(LIVE_JUMP_S, UNUSUAL * self._gap)
        self._gap = gap
        early = stamp + self._offset - now
        too_soon, too_late = (WAIT_S, 0.0) if self._paced else (0.0, LATE_S)
        if self._is_behind(now, waited_s) or jumped or early > too_soon or early < -too_late:
            self._offset = now - stamp
        elif early < 0:
            self._offset += min(-early, DRIFT * gap)
        return stamp + self._offset

    def _is_behind(self, now: float, waited_s: float) -> bool:
        """Whether this frame has been there for a while, and newer ones are."""
        if waited_s > WAITED_S:
            self._waited_at, self._behind = now, False
        elif self._catches_up and now - self._waited_at > BACKLOG_S:
            self._behind = True
        return self._behind

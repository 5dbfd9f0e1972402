"""Time as a program sees it that may be stopped and go on."""

import time
from collections.abc import Callable


class Awake:
    """Tells since when a thread has run without a break, so that a limit does not count the time in which the whole
    program was stopped or starved: nobody could do anything then.

    Args:
        late_s: a call that comes later than this after the one before says that there was a break.
        clock: seconds.
    """

    def __init__(self, late_s: float, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._late_s, self._clock = late_s, clock
        self._since = self._last = clock()

    def since(self) -> float:
        """The beginning of the time without breaks. Call it all the time."""
        now = self._clock()
        if now - self._last > self._late_s:
            self._since = now
        self._last = now
        return self._since

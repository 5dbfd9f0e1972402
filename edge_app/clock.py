"""Time as a program sees it that may be stopped and go on, and waits between tries."""

import random
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


class Backoff:
    """Exponential backoff between tries: doubled up to `longest`, with 20 % jitter. Seconds."""

    def __init__(self, first: float, longest: float, chance: Callable[[], float] = random.random) -> None:
        self._first, self._longest, self._chance = first, max(first, longest), chance
        self.reset()

    def reset(self) -> None:
        self._wait = self._first

    def next(self) -> float:
        wait, self._wait = self._wait, min(self._wait * 2, self._longest)
        return wait * (1 - 0.2 * self._chance())  # jitter, or many cameras would reconnect to one server at once

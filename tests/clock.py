"""A clock that tests move on, so that nothing waits for real seconds."""


class Clock:
    """Takes the place of `time.monotonic`.

    now: may be set. step: seconds by which each reading moves it on.
    """

    def __init__(self, now: float = 1000.0, step: float = 0.0) -> None:
        self.now, self.step = now, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now

"""Times and counts of a run: per-stage milliseconds, frame age, frames a second."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

WINDOW = 4096  # samples kept a stage: enough for a steady p95, bounded however long a run lasts


class Metrics:
    """Collects samples in milliseconds by name; one writer a name, any reader.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._samples: dict[str, deque[float]] = {}
        self._clock = clock
        self.started_at = clock()

    def add(self, name: str, milliseconds: float) -> None:
        self._samples.setdefault(name, deque(maxlen=WINDOW)).append(milliseconds)

    def summary(self) -> dict[str, dict[str, float]]:
        """name -> median_ms and p95_ms over the last `WINDOW` samples."""
        return {
            name: {
                "median_ms": round(float(np.median(samples)), 3),
                "p95_ms": round(float(np.percentile(samples, 95)), 3),
            }
            for name, samples in ((name, list(samples)) for name, samples in list(self._samples.items()))
        }

    @property
    def seconds(self) -> float:
        return self._clock() - self.started_at


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Write the milliseconds the block takes into `timings[stage]`."""
    start = time.perf_counter()
    try:
        yield
    finally:
        timings[stage] = (time.perf_counter() - start) * 1e3

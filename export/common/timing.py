"""Comparable timings: calls take turns in one process, on one thread each."""

import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turn(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each call. They are interleaved, so that a slow moment affects all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: round(float(np.median(taken)), 3) for name, taken in times.items()}

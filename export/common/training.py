"""Shared parts of a training: time budget, schedule, weight averaging, resumable checkpoints, learning curve."""

import csv
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_app.bench.plots import pyplot
from edge_app.errors import UsageError, first_line


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


class Budget:
    """Minutes of training allowed, counted over all resumed runs.

    Args:
        minutes: total allowance.
        spent: seconds that earlier runs used.
        origin: of those, the seconds before the schedule started, or restarted.
        clock: gives seconds; monotonic.
    """

    def __init__(
        self, minutes: float, spent: float = 0.0, origin: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.seconds, self.before, self.origin, self.clock, self.start = minutes * 60, spent, origin, clock, clock()

    @property
    def spent(self) -> float:
        """Seconds used so far, earlier runs included."""
        return self.before + self.clock() - self.start

    @property
    def fraction(self) -> float:
        """Elapsed share of the schedule, 0..1, which sets the learning rate."""
        allowed = self.seconds - self.origin
        return min(1.0, (self.spent - self.origin) / allowed) if allowed > 0 else 1.0


def cosine_rate(peak: float, warmup: float, fraction: float) -> float:
    """Learning rate at a share of the budget: linear warmup, then cosine annealing to 1 % of `peak` (1608.03983)."""
    if fraction < warmup:
        return peak * max(fraction / warmup, 0.02)
    t = (fraction - warmup) / (1 - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * t))))


@torch.no_grad()
def update_ema(average: torch.nn.Module, net: torch.nn.Module, decay: float) -> None:
    """Update the exponential moving average of the weights by 1 - decay; integer buffers are copied."""
    for a, b in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - decay)
        else:
            a.copy_(b)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a run stopped at any moment leaves the last whole checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def average_checkpoints(paths: list[Path]) -> dict[str, Any]:
    """The last checkpoint with the uniform mean of all averaged weights ('Model soups', 2203.05482)."""
    states = [_read(path) for path in paths]
    mean = {
        name: torch.stack([s["average"][name] for s in states]).mean(0) if last.dtype.is_floating_point else last
        for name, last in states[-1]["average"].items()
    }
    last_state: dict[str, Any] = states[-1]
    return last_state | {
        "average": mean,
        "averaged": [f"{s['spent'] / 60:.0f} minutes of seed {s.get('seed', 0)}" for s in states],
        **{k: once(*(s.get(k, []) for s in states)) for k in ("teachers", "where")},
    }


def once(*lists: list[str]) -> list[str]:
    """The union of the lists, without duplicates, in order of first appearance."""
    return list(dict.fromkeys(itertools.chain(*lists)))


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state of a checkpoint file; None where there is no such file.

    Raises:
        UsageError: the file is no checkpoint, or a damaged one.
    """
    return _read(path) if path.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many unrelated types here
        raise UsageError(
            f"{path}: cannot be read ({first_line(error)}); expected a checkpoint.pt that training wrote"
        ) from None
    if not isinstance(state, dict):
        raise UsageError(f"{path}: holds no state; expected a checkpoint.pt that training wrote")
    return state


class Curve:
    """A learning curve kept as CSV (one row a call) and drawn as PNG. Rows survive a resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, **row: float) -> None:
        rows = self.rows()
        rows.append({key: f"{value:.6g}" for key, value in row.items()})
        columns = list(dict.fromkeys(key for r in rows for key in r))
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def rows(self) -> list[dict[str, str]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def plot(self, png: Path, x: str = "minutes") -> None:
        """One panel a column, all over `x`."""
        plt = pyplot()
        rows = self.rows()
        names = [name for name in rows[0] if name != x] if rows else []
        if not names:
            return
        figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.6), squeeze=False)
        for axis, name in zip(axes[0], names, strict=True):
            points = [(float(r[x]), float(r[name])) for r in rows if r.get(name)]
            axis.plot(*zip(*points, strict=True)) if points else None
            axis.set(xlabel=x, title=name)
        figure.tight_layout()
        figure.savefig(png, dpi=90)
        plt.close(figure)

"""Regression test of a model: two models on the same faces, compared by paired bootstrap.

Every resample draws the same faces for both models, so that their common variance (a hard picture) cancels out ('An
Introduction to the Bootstrap', Efron and Tibshirani, 1993).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

RESAMPLES = 1000
SEED = 0
TOLERANCE = 0.002  # a smaller fall is ignored, unless it is significant
METRICS = ("precision no_mask", "F1 no_mask", "ROC AUC")


@dataclass(frozen=True, slots=True)
class Change:
    """One metric (0..1) of the current model (before) and of the candidate (after) on the same faces.

    low, high: 95 % interval of after - before.
    """

    metric: str
    before: float
    after: float
    low: float
    high: float

    @property
    def fell(self) -> bool:
        """Down by more than TOLERANCE, or the whole interval below zero."""
        return self.after - self.before < -TOLERANCE or self.high < 0

    def __str__(self) -> str:
        verb = "fell" if self.after < self.before else "rose"
        return (
            f"{self.metric} {verb} by {abs(self.after - self.before):.4f}, from {self.before:.4f} to {self.after:.4f} "
            f"(95 % interval of the change {self.low:+.4f} to {self.high:+.4f})"
        )

    def record(self) -> dict[str, Any]:
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items() if k != "metric"}


class Scored:
    """Faces with the mask probabilities of one model, so that all metrics of a resample take one pass.

    Args:
        masked: bool (n,), which faces wear a mask properly. probability: float (n,).
    """

    def __init__(self, masked: npt.NDArray[np.bool_], probability: Float) -> None:
        self.order = np.argsort(probability)
        self.masked = masked[self.order]
        self.called_bare = probability[self.order] < 0.5
        ordered = probability[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of each run of equal probabilities

    def metrics(self, counts: Float) -> Float:
        """METRICS float (3,) where face i counts `counts[i]` times; bare is the positive class. AUC is NaN where a
        class is absent, precision and F1 are 0 without predicted positives.
        """
        weight = counts[self.order]
        bare = np.where(self.masked, 0, weight)
        found, called, all_bare = bare[self.called_bare].sum(), weight[self.called_bare].sum(), bare.sum()
        precision = found / called if called else 0.0
        f1 = 2 * found / (called + all_bare) if called + all_bare else 0.0
        bare_runs = np.add.reduceat(bare, self.starts)
        masked_runs = np.add.reduceat(weight - bare, self.starts)
        pairs = all_bare * masked_runs.sum()  # won where the masked face has the higher probability, half at a tie
        won = (masked_runs * (np.cumsum(bare_runs) - bare_runs / 2)).sum()
        return np.array([precision, f1, won / pairs if pairs else np.nan])


def compare(masked: npt.NDArray[np.bool_], before: Float, after: Float) -> list[Change]:
    """The change of each metric.

    Args:
        masked: bool (n,), the truth, both values present. before, after: mask probabilities (n,) of both models.
    """
    models = Scored(masked, before), Scored(masked, after)
    n, rng = len(masked), np.random.default_rng(SEED)
    old, new = (model.metrics(np.ones(n)) for model in models)
    differences = np.empty((RESAMPLES, len(METRICS)))
    for i in range(RESAMPLES):
        counts = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)
        first, second = (model.metrics(counts) for model in models)
        differences[i] = second - first
    low, high = np.nanpercentile(differences, (2.5, 97.5), axis=0)
    return [Change(name, *(float(v[i]) for v in (old, new, low, high))) for i, name in enumerate(METRICS)]

"""The paired bootstrap: its metrics are those of scikit-learn, and it tells a fall from noise."""

import numpy as np
import numpy.typing as npt
import pytest

from tests.workshop import leave, missing

if reason := missing("sklearn"):
    leave(reason)

from sklearn import metrics

from export.classifier.paired import METRICS, TOLERANCE, Change, Scored, compare

Float = npt.NDArray[np.float64]


def faces(n: int, noise: float, seed: int = 0) -> tuple[npt.NDArray[np.bool_], Float]:
    rng = np.random.default_rng(seed)
    masked = rng.random(n) < 0.6
    return masked, np.clip(0.5 + (masked - 0.5) * 0.5 + rng.normal(0, noise, n), 0, 1)


@pytest.mark.parametrize("digits", [1, 8])  # with one digit most probabilities are tied
def test_metrics_of_a_resample_are_those_of_sklearn_on_repeated_faces(digits: int) -> None:
    masked, probability = faces(300, noise=0.3)
    probability = probability.round(digits)
    drawn = np.random.default_rng(1).integers(0, 300, 300)
    found = Scored(masked, probability).metrics(np.bincount(drawn, minlength=300).astype(float))
    truth, scores = masked[drawn], probability[drawn]
    expected = [
        metrics.precision_score(~truth, scores < 0.5),
        metrics.f1_score(~truth, scores < 0.5),
        metrics.roc_auc_score(truth, scores),
    ]
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_same_answers_are_no_change() -> None:
    masked, probability = faces(200, noise=0.3)
    for change in compare(masked, probability, probability):
        assert (change.after, change.low, change.high) == (change.before, 0, 0)
        assert not change.fell


def test_a_worse_model_falls_in_every_metric_and_the_better_one_in_none() -> None:
    masked, sharp = faces(1500, noise=0.2)
    _, blurred = faces(1500, noise=0.5)
    worse, better = compare(masked, sharp, blurred), compare(masked, blurred, sharp)
    assert [c.metric for c in worse if c.fell] == list(METRICS)
    assert not any(c.fell for c in better)
    for there, back in zip(worse, better, strict=True):
        assert there.high < 0 < back.low
        assert there.low <= there.after - there.before <= there.high
    assert compare(masked, sharp, blurred) == worse  # the seed is fixed


def test_a_set_with_nothing_called_bare_has_no_precision() -> None:
    masked = np.array([True, False, True, False])
    found = Scored(masked, np.array([0.9, 0.6, 0.8, 0.7])).metrics(np.ones(4))
    assert found.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("difference", "low", "high", "fell"),
    [
        (-TOLERANCE * 1.01, -0.01, 0.01, True),  # too far down
        (-TOLERANCE * 0.99, -0.01, 0.01, False),  # within the tolerance, and may be nothing
        (-TOLERANCE * 0.5, -0.0015, -0.0005, True),  # little, but surely
        (0.01, 0.001, 0.02, False),
    ],
)
def test_what_counts_as_a_fall(difference: float, low: float, high: float, fell: bool) -> None:
    assert Change("F1", 0.9, 0.9 + difference, low, high).fell is fell


def test_the_sentence_names_metric_size_and_direction() -> None:
    assert str(Change("F1", 0.95, 0.92, -0.05, -0.01)) == (
        "F1 fell by 0.0300, from 0.9500 to 0.9200 (95 % interval of the change -0.0500 to -0.0100)"
    )

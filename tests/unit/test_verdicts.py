"""Votes over time: when a person is mask, no_mask or unsure, and how long that holds."""

import numpy as np
import pytest
import supervision as sv
from hypothesis import given
from hypothesis import strategies as st

from edge_app.config.settings import VerdictSettings
from edge_app.people.verdicts import VerdictBoard
from edge_app.records import Verdict

Person = tuple[int, float, float]  # tracker id, mask probability, detector score


def board(forget_s: float = 1.5, **settings: float) -> VerdictBoard:
    given = {"window_s": 1.0, "min_votes": 3, "hysteresis": 0.1} | settings
    return VerdictBoard(VerdictSettings.model_validate(given), 0.7, 0.3, forget_s)


def faces(*persons: Person) -> sv.Detections:
    count = len(persons)
    return sv.Detections(
        xyxy=np.tile(np.array((10, 10, 40, 40), np.float32), (count, 1)).reshape(count, 4),
        confidence=np.array([score for *_, score in persons], np.float32),
        tracker_id=np.array([i for i, *_ in persons], int),
        data={"mask_probability": np.array([p for _, p, _ in persons], np.float32)},
    )


def watch(on: VerdictBoard, *probabilities: float | None, step_s: float = 0.1, start_s: float = 0.0) -> list[Verdict]:
    """One person, a frame for each probability; None: out of sight."""
    told = []
    for index, probability in enumerate(probabilities):
        rows = () if probability is None else ((1, probability, 0.9),)
        told += on.update(faces(*rows), start_s + index * step_s)
    return told


def labels(verdicts: list[Verdict]) -> list[str]:
    return [verdict.label for verdict in verdicts]


@pytest.mark.parametrize(
    ("probability", "label", "confidence"),
    [(0.95, "mask", 0.95), (0.7001, "mask", 0.7), (0.5, "unsure", 0.5), (0.4, "unsure", 0.6), (0.05, "no_mask", 0.95)],
)
def test_a_steady_probability_gives_its_label(probability: float, label: str, confidence: float) -> None:
    last = watch(board(), *[probability] * 5)[-1]
    assert (last.label, last.votes) == (label, 5)
    assert last.mask_probability == pytest.approx(probability, abs=1e-3)
    assert last.confidence == pytest.approx(confidence, abs=1e-3)


@pytest.mark.parametrize("min_votes", [1, 2, 5])
def test_too_few_votes_stay_unsure(min_votes: int) -> None:
    told = labels(watch(board(min_votes=min_votes), *[0.9] * 6))
    assert told == ["unsure"] * (min_votes - 1) + ["mask"] * (7 - min_votes)


def test_one_wrong_frame_changes_nothing() -> None:
    assert labels(watch(board(), *[0.95] * 6, 0.01, *[0.95] * 4))[2:] == ["mask"] * 9


def test_a_mask_put_on_is_told_once_the_window_has_turned() -> None:
    told = labels(watch(board(), *[0.02] * 15, *[0.98] * 15))
    changes = [label for label, before in zip(told, ["", *told], strict=False) if label != before]
    assert changes == ["unsure", "no_mask", "unsure", "mask"]


def test_a_verdict_holds_within_the_hysteresis_only() -> None:
    on = board()
    assert labels(watch(on, *[0.8] * 12))[-1] == "mask"
    assert labels(watch(on, *[0.65] * 30, start_s=1.2)) == ["mask"] * 30  # under the threshold, within the margin
    assert labels(watch(on, *[0.55] * 30, start_s=4.2))[-1] == "unsure"
    assert labels(watch(on, *[0.65] * 30, start_s=7.2)) == ["unsure"] * 30  # not enough to come back


def test_without_hysteresis_the_thresholds_are_sharp() -> None:
    on = board(hysteresis=0, min_votes=1, window_s=0.01)
    assert labels(watch(on, 0.71, 0.69, 0.71, 0.29, 0.31)) == ["mask", "unsure", "mask", "no_mask", "unsure"]


@pytest.mark.parametrize("fps", [4, 10, 50])
def test_the_window_is_in_seconds_at_any_rate(fps: int) -> None:
    on = board(window_s=1.0)
    watch(on, *[0.9] * (3 * fps), step_s=1 / fps)
    told = watch(on, *[0.1] * (3 * fps), step_s=1 / fps, start_s=3.0)
    turned = labels(told).index("no_mask") / fps
    assert 0.6 <= turned <= 1.0  # when at least 4 of 5 votes of the last second are new
    assert max(v.votes for v in told) <= fps + 1


def test_sharp_faces_weigh_more() -> None:
    on = board(min_votes=2)
    on.update(faces((1, 1.0, 0.9)), 0.0)
    (told,) = on.update(faces((1, 0.0, 0.1)), 0.1)
    assert told.label == "mask"
    assert told.mask_probability == pytest.approx(0.9)


def test_a_weight_of_zero_is_no_vote() -> None:
    on = board(min_votes=1)
    (told,) = on.update(faces((1, 0.9, 0.0)), 0.0)
    assert (told.label, told.votes) == ("unsure", 0)
    assert told.mask_probability == pytest.approx(0.9)


def test_persons_do_not_mix() -> None:
    on = board()
    for index in range(5):
        rows = [(1, 0.9, 0.9), (2, 0.1, 0.9)]
        told = on.update(faces(*(rows if index % 2 else rows[::-1])), index / 10)
    assert labels(told) == ["no_mask", "mask"]


def test_unconfirmed_faces_are_unsure_and_leave_no_votes() -> None:
    on = board(min_votes=2)
    for index in range(5):
        one, two = on.update(faces((-1, 0.9, 0.9), (-1, 0.2, 0.9)), index / 10)
        assert (one.label, one.votes) == ("unsure", 1)
        assert one.confidence == pytest.approx(0.9)
        assert (two.label, two.votes) == ("unsure", 1)
        assert two.confidence == pytest.approx(0.8)
    assert watch(on, 0.9, start_s=0.5)[0].votes == 1


@pytest.mark.parametrize(("gap_s", "label"), [(0.4, "mask"), (1.2, "unsure")])
def test_who_was_away_for_long_starts_anew(gap_s: float, label: str) -> None:
    on = board(forget_s=0.8)
    watch(on, *[0.95] * 6)
    away = round(gap_s / 0.1)
    assert labels(watch(on, *[None] * away, 0.95, start_s=0.6)) == [label]


def test_a_frame_without_faces_has_no_verdicts() -> None:
    assert board().update(faces(), 0.0) == []
    assert board().update(sv.Detections.empty(), 0.0) == []


# Sixteenths are exact in binary and no mean of a few of them meets a bound, so rounding decides nothing.
sixteenths = st.integers(0, 16).map(lambda n: n / 16)
steps = st.lists(st.tuples(st.sampled_from([0.0, 0.04, 0.3, 1.1]), sixteenths, st.integers(1, 8)), max_size=30)


@given(steps)
def test_the_mean_is_the_weighted_mean_of_the_window(frames: list[tuple[float, float, int]]) -> None:
    on, time, votes = board(forget_s=1e6), 0.0, []
    for step, probability, weight in frames:
        time += step
        votes.append((time, probability, weight / 8))
        (told,) = on.update(faces((1, probability, weight / 8)), time)
        kept = [(p, w) for t, p, w in votes if time - t <= 1.0]
        assert told.votes == len(kept)
        assert told.mask_probability == pytest.approx(np.average([p for p, _ in kept], weights=[w for _, w in kept]))
        assert 0 <= told.confidence <= 1


@given(steps)
def test_mask_and_no_mask_are_treated_alike(frames: list[tuple[float, float, int]]) -> None:
    settings = VerdictSettings(window_s=1.0, min_votes=3, hysteresis=0.0987654321)
    one, other = (VerdictBoard(settings, 0.7123456789, 1 - 0.7123456789, 1.5) for _ in range(2))
    swapped, time = {"mask": "no_mask", "no_mask": "mask", "unsure": "unsure"}, 0.0
    for step, probability, _ in frames:
        time += step
        (a,), (b,) = one.update(faces((1, probability, 1)), time), other.update(faces((1, 1 - probability, 1)), time)
        assert a.label == swapped[b.label]
        assert a.confidence == pytest.approx(b.confidence)


@given(steps)
def test_a_label_is_never_against_the_mean(frames: list[tuple[float, float, int]]) -> None:
    on, time = board(), 0.0
    for step, probability, weight in frames:
        time += step
        (told,) = on.update(faces((1, probability, weight / 8)), time)
        if told.label == "mask":
            assert told.mask_probability >= 0.6 - 1e-9
        if told.label == "no_mask":
            assert told.mask_probability <= 0.4 + 1e-9

"""Faces become persons: an id comes, stays through a gap, and is not given to anybody else."""

from collections.abc import Iterable

import numpy as np
import pytest
import supervision as sv

from edge_app.config.settings import TrackerSettings
from edge_app.people.tracker import FaceTracker, NewFaces

STEP_S = 0.04
Place = tuple[float, float]  # centre of a face, pixels


def faces(*places: Place, side: float = 80) -> sv.Detections:
    count = len(places)
    centres = np.array(places, np.float32).reshape(count, 2)
    return sv.Detections(
        xyxy=np.hstack([centres - side / 2, centres + side / 2]).astype(np.float32),
        confidence=np.full(count, 0.9, np.float32),
        class_id=np.zeros(count, int),
        data={
            "mask_probability": centres[:, 0] / 1000,  # tells which face a row is
            "landmarks": np.zeros((count, 5, 2), np.float32),
        },
    )


def ids(tracked: sv.Detections) -> list[int]:
    assert tracked.tracker_id is not None
    return [int(i) for i in tracked.tracker_id]


def by_height(tracked: sv.Detections) -> list[int]:
    """Ids from the top of the picture down."""
    return [ids(tracked)[row] for row in np.argsort(tracked.xyxy[:, 1])]


def watch(tracker: FaceTracker, frames: Iterable[tuple[Place, ...]], start_s: float = 0.0) -> list[list[int]]:
    return [ids(tracker.update(faces(*places), start_s + i * STEP_S)) for i, places in enumerate(frames)]


@pytest.mark.parametrize("min_hits", [1, 2, 4])
def test_a_person_counts_once_seen_often_enough(min_hits: int) -> None:
    told = watch(FaceTracker(TrackerSettings(min_hits=min_hits)), [((100 + 5 * i, 200),) for i in range(8)])
    assert all(len(frame) == 1 for frame in told)
    confirmed = [frame[0] for frame in told if frame[0] >= 0]
    assert len(set(confirmed)) == 1
    # A person may be confirmed one frame later than asked, never earlier.
    assert 8 - min_hits <= len(confirmed) <= 9 - min_hits


def test_a_single_false_detection_is_nobody() -> None:
    assert watch(FaceTracker(TrackerSettings()), [((300, 300),), (), (), ()]) == [[-1], [], [], []]


@pytest.mark.parametrize(("gap_s", "same"), [(0.2, True), (0.8, True), (1.3, False), (5.0, False)])
def test_the_id_lives_through_a_short_gap_only(gap_s: float, same: bool) -> None:
    tracker = FaceTracker(TrackerSettings(lost_s=1.0))
    before = watch(tracker, [((100, 200),)] * 10)[-1]
    gap = round(gap_s / STEP_S)
    watch(tracker, [()] * gap, start_s=10 * STEP_S)
    after = watch(tracker, [((100, 200),)] * 5, start_s=(10 + gap) * STEP_S)[-1]
    assert before[0] >= 0
    assert after[0] >= 0
    assert (before == after) == same


@pytest.mark.parametrize(("gap_s", "same"), [(0.6, True), (4.0, False)])
def test_dropped_frames_count_as_the_time_they_took(gap_s: float, same: bool) -> None:
    tracker = FaceTracker(TrackerSettings(lost_s=1.0))
    before = watch(tracker, [((100, 200),)] * 10)[-1]
    after = watch(tracker, [((100, 200),)] * 5, start_s=9 * STEP_S + gap_s)[-1]
    assert (before == after) == same


@pytest.mark.parametrize("fps", [5, 25, 60])
def test_a_walker_keeps_one_id_at_any_rate(fps: int) -> None:
    tracker = FaceTracker(TrackerSettings())
    told = [ids(tracker.update(faces((100 + 120 * i / fps, 200)), i / fps)) for i in range(2 * fps)]
    assert len({frame[0] for frame in told if frame[0] >= 0}) == 1
    assert told[-1][0] >= 0


def test_two_who_pass_each_other_at_a_distance_keep_their_ids() -> None:
    tracker = FaceTracker(TrackerSettings())
    told = [by_height(tracker.update(faces((100 + 10 * i, 150), (500 - 10 * i, 400)), i * STEP_S)) for i in range(40)]
    assert told[-1] == told[5]
    assert len({*told[-1]} - {-1}) == 2


def test_one_who_leaves_does_not_take_the_other_along() -> None:
    tracker = FaceTracker(TrackerSettings(lost_s=0.5))
    both = by_height(watch_one(tracker, ((100, 150), (100, 400)), 0, 10))
    alone = by_height(watch_one(tracker, ((100, 400),), 10, 40))
    again = by_height(watch_one(tracker, ((100, 150), (100, 400)), 40, 50))
    assert alone == [both[1]]
    assert again[1] == both[1]
    assert again[0] not in (*both, -1)


def watch_one(tracker: FaceTracker, places: tuple[Place, ...], start: int, end: int) -> sv.Detections:
    return [tracker.update(faces(*places), i * STEP_S) for i in range(start, end)][-1]


def test_every_row_comes_back_with_its_own_columns() -> None:
    tracker, places = FaceTracker(TrackerSettings()), ((100, 100), (400, 100), (700, 100))
    for index in range(4):
        tracked = tracker.update(faces(*(places if index % 2 else places[::-1])), index * STEP_S)
        centres = (tracked.xyxy[:, 0] + tracked.xyxy[:, 2]) / 2
        assert sorted(centres) == [100, 400, 700]
        assert tracked.data["mask_probability"] == pytest.approx(centres / 1000)


@pytest.mark.parametrize("seen_before", [0, 5])
def test_a_frame_without_faces_has_the_same_columns(seen_before: int) -> None:
    tracker = FaceTracker(TrackerSettings())
    watch(tracker, [((100, 100),)] * seen_before)
    some = FaceTracker(TrackerSettings()).update(faces((100, 100)), 0.0)
    none = tracker.update(faces(), 1.0)
    assert len(none) == 0
    assert none.data.keys() == some.data.keys()
    columns = [(d.xyxy, d.confidence, d.class_id, d.tracker_id, *d.data.values()) for d in (some, none)]
    for a, b in zip(*columns, strict=True):
        assert isinstance(a, np.ndarray)
        assert isinstance(b, np.ndarray)
        assert (a.dtype, a.shape[1:]) == (b.dtype, b.shape[1:])


@pytest.mark.parametrize("times", [[0.0] * 6, [1.0, 1.0, 0.5, 0.2, 1.1, 1.1]], ids=["equal", "backwards"])
def test_broken_time_stamps_keep_the_person(times: list[float]) -> None:
    tracker = FaceTracker(TrackerSettings())
    told = [ids(tracker.update(faces((100 + i, 200)), time)) for i, time in enumerate(times)]
    assert told[-1] == told[-2]
    assert told[-1][0] >= 0


def test_trackers_do_not_share_their_memory() -> None:
    one, other = FaceTracker(TrackerSettings()), FaceTracker(TrackerSettings())
    watch(one, [((100, 200),)] * 5)
    assert watch(other, [((100, 200),)]) == [[-1]]


@pytest.mark.parametrize("start_s", [1e9, 1e13, 9e15])
def test_time_stamps_too_large_to_be_told_apart_still_are_frames(start_s: float) -> None:
    told = watch(FaceTracker(TrackerSettings()), [((100, 200),)] * 10, start_s=start_s)
    assert len({frame[0] for frame in told if frame[0] >= 0}) == 1


def test_new_faces_keep_their_order_and_share_no_id() -> None:
    tracker = NewFaces()
    first, none, second = (tracker.update(faces(*places)) for places in (((300, 200), (100, 200)), (), ((300, 200),)))
    assert first.xyxy[:, 0].tolist() == [260, 60]
    assert len({*ids(first), *ids(second)}) == 3
    assert ids(none) == []

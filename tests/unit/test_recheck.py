"""Whose face is classified in which frame, and what the others keep."""

from typing import NamedTuple

import numpy as np
import pytest
import supervision as sv

from edge_app.config.settings import VerdictSettings
from edge_app.people.recheck import Rechecks
from edge_app.people.verdicts import VerdictBoard

STEP_S = 1 / 32  # sums without rounding


class Face(NamedTuple):
    tracker_id: int
    mask_probability: float
    quality: float = 1.0


class Watch:
    """Frames judged as `SourceAnalyzer` does, by a classifier that is told what it would say."""

    def __init__(self, recheck_s: float = 5 * STEP_S) -> None:
        self.rechecks = Rechecks(recheck_s, 0.7, 0.3)
        self.board = VerdictBoard(VerdictSettings(), 0.7, 0.3, forget_s=1.5)
        self.time = 0.0

    def frame(self, *faces: Face) -> tuple[list[int], sv.Detections]:
        """The tracker ids that were classified, and the detections with all columns."""
        found = sv.Detections(
            xyxy=np.tile(np.array((10, 10, 40, 40), np.float32), (len(faces), 1)).reshape(len(faces), 4),
            confidence=np.full(len(faces), 0.9, np.float32),
            class_id=np.full(len(faces), -1),
            tracker_id=np.array([face.tracker_id for face in faces], int),
        )
        due = self.rechecks.due(found, self.time)
        assert (due.shape, due.dtype) == ((len(faces),), np.bool_)
        fresh = sv.Detections(found.xyxy[due])
        said = [face for face, wanted in zip(faces, due, strict=True) if wanted]
        fresh.data["mask_probability"] = np.array([face.mask_probability for face in said], np.float32)
        fresh.data["quality"] = np.array([face.quality for face in said], np.float32)
        self.rechecks.complete(found, due, fresh)
        self.rechecks.remember(found, due, self.board.update(found, self.time), self.time)
        self.time += STEP_S
        return [face.tracker_id for face in said], found

    def rows(self, count: int, *faces: Face) -> list[bool]:
        """In which of `count` equal frames anyone was classified."""
        return [bool(self.frame(*faces)[0]) for _ in range(count)]


@pytest.mark.parametrize("probability", [0.95, 0.05])
def test_every_frame_until_the_verdict_stands_then_every_fifth(probability: float) -> None:
    watch = Watch()
    assert watch.rows(14, Face(1, probability)) == [True] * 3 + ([False] * 4 + [True]) * 2 + [False]


def test_zero_seconds_classify_in_every_frame() -> None:
    assert all(Watch(recheck_s=0).rows(10, Face(1, 0.95)))


@pytest.mark.parametrize("face", [Face(1, 0.5), Face(1, 0.6), Face(1, 0.95, quality=0.0), Face(-1, 0.95)])
def test_nobody_without_a_verdict_is_passed_over(face: Face) -> None:
    assert all(Watch().rows(10, face))


def test_what_was_found_last_stays_with_the_person() -> None:
    watch = Watch()
    for _ in range(4):
        watch.frame(Face(1, 0.9, 0.8), Face(2, 0.1, 0.6))
    classified, found = watch.frame(Face(2, 0.2), Face(3, 0.6, 0.5), Face(1, 0.8))
    assert classified == [3]
    assert found.data["mask_probability"] == pytest.approx([0.1, 0.6, 0.9])
    assert found.data["quality"] == pytest.approx([0.6, 0.5, 0.8])
    assert found.class_id is not None
    assert found.class_id.tolist() == [1, 0, 0]
    assert found.data["mask_probability"].dtype == found.data["quality"].dtype == np.float32


def test_a_face_that_says_otherwise_is_back_in_every_frame() -> None:
    watch = Watch()
    watch.rows(8, Face(1, 0.95))  # classified in frames 0, 1, 2 and 7
    assert watch.rows(12, Face(1, 0.05)) == [False] * 4 + [True] * 8


def test_one_doubtful_frame_is_followed_by_a_second_look_and_no_more() -> None:
    watch = Watch()
    watch.rows(7, Face(1, 0.95))
    watch.frame(Face(1, 0.5))
    assert watch.rows(6, Face(1, 0.95)) == [True] + [False] * 4 + [True]


def test_who_was_out_of_sight_is_classified_at_once() -> None:
    watch = Watch()
    watch.rows(4, Face(1, 0.95))
    assert watch.frame()[0] == []
    assert watch.rows(1, Face(1, 0.95)) == [True]


def test_no_faces_have_the_same_columns() -> None:
    _, found = Watch().frame()
    assert found.class_id is not None
    assert (len(found.class_id), found.data["mask_probability"].shape, found.data["quality"].shape) == (0, (0,), (0,))
    assert found.data["mask_probability"].dtype == np.float32

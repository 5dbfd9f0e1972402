"""The quality of faces on real crops: what lowers a vote, what takes it away, and what is left of a verdict."""

import cv2
import numpy as np
import pytest
import supervision as sv
from pydantic import ValidationError

from edge_app.config.settings import QualitySettings, VerdictSettings
from edge_app.people.verdicts import VerdictBoard
from edge_app.vision.crops import crop_faces
from edge_app.vision.quality import FaceQuality, brightness, grey_face, sharpness
from tests.media import Pixels

FACE = (165.0, 45.0, 285.0, 205.0)  # of the astronaut picture


def quality(image: Pixels, box: tuple[float, ...] = FACE, **settings: object) -> float:
    detections = sv.Detections(np.array([box], np.float32))
    crops = crop_faces(image, detections.xyxy)
    rating = FaceQuality(QualitySettings.model_validate(settings))
    rating.rate(crops, detections, (image.shape[1], image.shape[0]))
    assert detections.data["quality"].dtype == np.float32
    return float(detections.data["quality"][0])


def test_a_clear_face_has_a_full_vote(astronaut: Pixels) -> None:
    assert quality(astronaut) == 1


def test_blur_lowers_the_vote_and_then_takes_it(astronaut: Pixels) -> None:
    ratings = [quality(cv2.GaussianBlur(astronaut, (0, 0), s), sharpness=4, lowest=0) for s in (0.5, 2, 4, 8)]
    assert ratings == sorted(ratings, reverse=True)
    assert ratings[0] > ratings[-1]
    assert quality(cv2.GaussianBlur(astronaut, (0, 0), 40)) == 0


def test_darkness_lowers_the_vote_and_then_takes_it(astronaut: Pixels) -> None:
    dim, dark = ((astronaut * k).astype(np.uint8) for k in (0.25, 0.08))
    assert 0 < quality(dim, lowest=0, sharpness=0) < 1
    assert quality(dark, sharpness=0) == 0


def test_a_small_face_has_less_of_a_vote(astronaut: Pixels) -> None:
    small = cv2.resize(astronaut, None, fx=0.075, fy=0.075, interpolation=cv2.INTER_AREA)
    box = tuple(v * 0.075 for v in FACE)
    assert quality(small, box, sharpness=0) == pytest.approx(0.5, abs=0.01)  # 9 px: full from 12, none at 6


def test_a_face_at_the_edge_has_half_a_vote(astronaut: Pixels) -> None:
    cut = np.ascontiguousarray(astronaut[:, 200:])
    assert quality(cut, (0.0, 45.0, 85.0, 205.0)) == 0.5
    assert quality(cut, (0.0, 45.0, 85.0, 205.0), at_edge=0) == 0


def test_switched_off_everything_has_a_full_vote(astronaut: Pixels) -> None:
    assert quality((astronaut * 0.02).astype(np.uint8), enabled=False) == 1


def test_no_faces_keep_the_column() -> None:
    detections = sv.Detections.empty()
    FaceQuality(QualitySettings()).rate(np.zeros((0, 112, 112, 3), np.uint8), detections, (640, 480))
    assert (detections.data["quality"].shape, detections.data["quality"].dtype) == ((0,), np.float32)


def test_measures_are_in_grey_levels() -> None:
    assert brightness(grey_face(np.full((112, 112, 3), 77, np.uint8))) == pytest.approx(77)
    assert sharpness(grey_face(np.full((112, 112, 3), 77, np.uint8))) == 0


@pytest.mark.parametrize("bad", [{"brightness": -1}, {"lowest": 1.5}, {"widht_px": 3}])
def test_bad_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        QualitySettings.model_validate(bad)


def board() -> VerdictBoard:
    return VerdictBoard(VerdictSettings(min_votes=2), 0.7, 0.3, forget_s=5)


def seen(probability: float, rating: float) -> sv.Detections:
    return sv.Detections(
        np.array([FACE], np.float32),
        confidence=np.array([0.9], np.float32),
        tracker_id=np.array([4]),
        data={"mask_probability": np.array([probability], np.float32), "quality": np.array([rating], np.float32)},
    )


def test_a_voteless_face_is_unsure_and_changes_nothing() -> None:
    votes = board()
    assert [votes.update(seen(0.99, 0), t)[0].label for t in (0.0, 0.1, 0.2)] == ["unsure"] * 3
    assert [votes.update(seen(0.01, 1), t)[0].label for t in (0.3, 0.4)] == ["unsure", "no_mask"]
    after = votes.update(seen(0.99, 0), 0.5)[0]
    assert (after.label, after.votes) == ("no_mask", 2)


def test_a_poor_face_counts_less_than_a_good_one() -> None:
    votes = board()
    votes.update(seen(0.1, 1), 0.0)
    assert votes.update(seen(0.9, 0.25), 0.1)[0].mask_probability == pytest.approx((0.1 + 0.25 * 0.9) / 1.25)

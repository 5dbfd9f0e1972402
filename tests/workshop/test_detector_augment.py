"""The detector's augmentation against painted pixels."""

import cv2
import numpy as np
import pytest

from tests.workshop import extent, is_red, leave, missing, red_scene, red_square

if reason := missing("torch"):
    leave(reason)

from export.detector.augment import Sample, clip_boxes, letterbox, mosaic, random_crop
from export.detector.data import DOUBTFUL, FACE, IGNORE, UNCOVERED
from export.detector.hyperparameters import Hyperparameters
from export.detector.paint import degrade, draw_back_of_head, draw_mask


class TestPlace:
    def test_large_windows_show_faces_that_fill_them(self) -> None:
        face = red_scene((200, 120, 360, 280))
        samples = [random_crop(face, 640, np.random.default_rng(seed)) for seed in range(200)]
        widths = [np.ptp(s.boxes[:, ::2], axis=1).max(initial=0) for s in samples]
        assert np.mean(np.array(widths) > 0.55 * 640) > 0.1  # a size drawn evenly from 8 px would give half as many

    def test_the_box_and_the_points_land_on_the_face(self) -> None:
        checked, sides = 0, []
        for seed in range(60):
            sample = random_crop(red_scene(), 320, np.random.default_rng(seed))
            assert (sample.image.shape, sample.image.dtype) == ((320, 320, 3), np.uint8)
            if not len(sample.boxes) or sample.kinds[0] != FACE:
                continue
            (x0, y0, x1, y1), points = sample.boxes[0], sample.landmarks[0]
            side = x1 - x0
            if min(x0, y0, 320 - x1, 320 - y1) < 0.3 * side + 2 or side < 14:
                continue  # cut by the window, or too few pixels to measure
            rows, columns = np.nonzero(is_red(sample.image))
            near = 1 + 0.5 * side / 60  # half a pixel of the scene, and one of the window
            assert abs(columns.mean() + 0.5 - (x0 + x1) / 2) < near
            assert abs(rows.mean() + 0.5 - (y0 + y1) / 2) < near
            assert len(rows) == pytest.approx(side * (y1 - y0), rel=0.2)  # whatever the turn
            reach = 0.2 * side  # a turn may carry a corner's point out of the box
            assert ((points >= [x0 - reach, y0 - reach]) & (points <= [x1 + reach, y1 + reach])).all()
            assert points[0, 0] < points[1, 0]
            assert points[3, 0] < points[4, 0]
            checked += 1
            sides.append(side)
        assert checked >= 15
        assert max(sides) > 2 * min(sides)

    def test_a_flip_moves_the_face_to_the_other_side(self) -> None:
        found = set()
        for seed in range(40):
            sample = random_crop(red_scene((20, 150, 80, 210)), 320, np.random.default_rng(seed))
            rows, columns = np.nonzero(is_red(sample.image))
            if len(rows) and len(sample.boxes):
                x0, y0, x1, y1 = sample.boxes[0]
                assert x0 - 0.3 * (x1 - x0) - 2 <= columns.mean() <= x1 + 0.3 * (x1 - x0) + 2
                assert y0 - 0.3 * (y1 - y0) - 2 <= rows.mean() <= y1 + 0.3 * (y1 - y0) + 2
                found.add(bool(columns.mean() > 160))
        assert found == {True, False}

    @pytest.mark.parametrize(("under", "kind"), [(0.0, FACE), (1.0, UNCOVERED)])
    def test_a_bare_face_may_get_a_mask_and_the_scene_stays_as_it_is(self, under: float, kind: int) -> None:
        hp = Hyperparameters(backs_of_heads=0.0, masks_under_nose=under)
        one = red_scene()
        one.bare[:], one.kinds[:] = True, UNCOVERED
        before = one.image().copy()
        masked = 0
        for seed in range(30):
            bare = random_crop(red_scene(), 320, np.random.default_rng(seed), hp=hp).image
            sample = random_crop(one, 320, np.random.default_rng(seed), hp=hp)
            drawn = bool(np.abs(bare.astype(int) - sample.image).max() > 40)
            assert {*sample.kinds} <= {IGNORE, kind if drawn else UNCOVERED}
            masked += drawn
        assert masked > 3
        assert one.kinds.tolist() == [UNCOVERED]
        assert np.array_equal(one.image(), before)

    def test_a_bare_face_may_turn_away_and_then_is_none(self) -> None:
        hp = Hyperparameters(synthetic_masks=0.0, backs_of_heads=0.5)
        one = red_scene()
        one.bare[:], one.kinds[:] = True, UNCOVERED
        before = one.image().copy()
        samples = [random_crop(one, 320, np.random.default_rng(seed), hp=hp) for seed in range(30)]
        assert 5 < sum(len(s.boxes) == 0 for s in samples) < 25
        assert np.array_equal(one.image(), before)
        assert len(one.boxes) == 1


class TestWhole:
    """A red face in a picture of 480 x 360 pixels."""

    POINTS = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)])  # eyes, nose, mouth

    @pytest.mark.parametrize("size", [320, 640])
    def test_the_picture_is_all_there_at_the_size_of_the_window_or_a_little_less(self, size: int) -> None:
        sides = []
        for seed in range(40):
            sample = letterbox(red_scene(), size, np.random.default_rng(seed))
            assert (sample.image.shape, sample.image.dtype) == ((size, size, 3), np.uint8)
            wide, high = extent(sample.image)
            assert high / wide == pytest.approx(360 / 480, abs=0.01)
            sides.append(wide / size)
        assert 0.84 < min(sides) < 0.9
        assert 0.3 < np.mean(np.array(sides) == 1) < 0.7

    def test_the_box_and_the_points_land_on_the_face_whichever_way_round(self) -> None:
        turned = set()
        for seed in range(40):
            sample = letterbox(red_scene((20, 120, 80, 180)), 320, np.random.default_rng(seed))
            (x0, y0, x1, y1), points = sample.boxes[0], sample.landmarks[0]
            rows, columns = np.nonzero(is_red(sample.image))
            assert columns.min() == pytest.approx(x0, abs=1.5)
            assert columns.max() + 1 == pytest.approx(x1, abs=1.5)
            assert rows.min() == pytest.approx(y0, abs=1.5)
            assert rows.max() + 1 == pytest.approx(y1, abs=1.5)
            assert (sample.boxes.dtype, sample.landmarks.dtype) == (np.float32, np.float32)
            assert (points - [x0, y0]) / [x1 - x0, y1 - y0] == pytest.approx(self.POINTS, abs=0.01)
            left = np.flatnonzero(sample.image.any((0, 2)))[0]
            turned.add(bool(x0 - left > 160))
        assert turned == {True, False}


def test_what_is_above_a_face_is_combed_over_it_down_to_the_chin_or_to_a_nape() -> None:
    box, hair = (200, 120, 260, 180), (200, 60, 20)
    picture = red_square(box)
    picture[:120] = hair  # as far down as the face begins
    points = red_scene(box).landmarks[0]
    for point in points:
        cv2.circle(picture, np.round(point).astype(int).tolist(), 3, (0, 255, 0), -1)
    napes, left = [], []
    for seed in range(40):
        turned = picture.copy()
        assert draw_back_of_head(turned, points, np.random.default_rng(seed))
        wide = turned[120:180, 200:260].astype(int)
        assert not (wide[..., 1] - wide[..., [0, 2]].max(2) > 60).any()  # neither eyes nor nose nor mouth
        assert np.abs(turned[145, 230].astype(int) - hair).max() < 3
        assert (turned[:, :140] == picture[:, :140]).all()
        red = is_red(turned)
        napes.append(red[160:175, 220:240].mean())
        left.append(red.sum() / (60 * 60))
    assert {bool(nape > 0.5) for nape in napes} == {True, False}
    assert min(napes) < 0.05
    assert np.mean(np.array(left) < 0.15) > 0.3  # long hair: the corners of a square stay, as ears would


def test_a_face_whose_hair_is_cut_off_stays() -> None:
    picture = red_square((200, 4, 260, 64))
    before = picture.copy()
    assert not draw_back_of_head(picture, red_scene((200, 4, 260, 64)).landmarks[0], np.random.default_rng(0))
    assert (picture == before).all()


def test_clip_cuts_drops_doubts_and_ignores() -> None:
    boxes = np.array(
        [
            (10, 10, 30, 30),
            (-10, 10, 30, 50),
            (-30, 10, 10, 50),
            (150, 10, 190, 50),
            (50, 50, 55, 55),
            (60, 60, 66, 66),
            (-12, 70, 4, 86),
        ],
        np.float32,
    )
    points = np.zeros((7, 5, 2), np.float32) + np.arange(7, dtype=np.float32)[:, None, None]
    out = clip_boxes(Sample(np.zeros((100, 100, 3), np.uint8), boxes, np.full(7, FACE), points))
    assert out.boxes.tolist() == [
        [10, 10, 30, 30],
        [0, 10, 30, 50],  # three quarters are left
        [0, 10, 10, 50],  # one quarter is left, of a large face
        [50, 50, 55, 55],  # too small
        [60, 60, 66, 66],
        [0, 70, 4, 86],  # one quarter is left, of a small one
    ]
    assert out.kinds.tolist() == [FACE, FACE, IGNORE, IGNORE, FACE, DOUBTFUL]
    assert out.landmarks[:, 0, 0].tolist() == [0, 1, 2, 4, 5, 6]


def test_a_mosaic_keeps_its_boxes_on_the_faces() -> None:
    faces = 0
    for seed in range(25):
        sample = mosaic([red_scene() for _ in range(4)], 320, np.random.default_rng(seed))
        assert sample.image.shape == (320, 320, 3)
        assert ((sample.boxes >= 0) & (sample.boxes <= 320)).all()
        assert len(sample.boxes) == len(sample.kinds) == len(sample.landmarks)
        red, covered = is_red(sample.image), np.zeros((320, 320), bool)
        for (x0, y0, x1, y1), kind in zip(sample.boxes.round().astype(int), sample.kinds, strict=True):
            grow = int(0.25 * max(x1 - x0, y1 - y0)) + 2  # a turned square reaches out of its box
            covered[max(0, y0 - grow) : y1 + grow, max(0, x0 - grow) : x1 + grow] = True
            if kind == FACE and min(x1 - x0, y1 - y0) >= 12:
                assert red[y0:y1, x0:x1].mean() > 0.55
                faces += 1
        assert not (red & ~covered).any() or (red & ~covered).sum() < 0.1 * red.sum()
    assert faces > 30


@pytest.mark.parametrize(("under", "first", "below", "covered"), [(False, 86, 112, 115), (True, 105, 124, 125)])
def test_a_drawn_mask_changes_the_lower_face_only(under: bool, first: int, below: int, covered: int) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    points = np.array([(80, 80), (120, 80), (100, 100), (85, 120), (115, 120)], np.float32)
    for seed in range(30):
        image = picture.copy()
        draw_mask(image, points, np.random.default_rng(seed), under)
        rows, columns = np.nonzero((image != picture).any(2))
        assert first <= rows.min() < below  # below the eyes, or the nose
        assert 130 < rows.max() <= 156  # over the chin
        assert 55 <= columns.min() < 85 < 115 < columns.max() <= 145
        assert (image != picture).any(2)[covered : covered + 11, 90:111].mean() > 0.9  # the mouth, or what is below it


def test_wear_keeps_the_form() -> None:
    image = red_square((10, 10, 50, 50), (96, 64))
    worn = [degrade(image, np.random.default_rng(seed)) for seed in range(30)]
    assert {(w.shape, w.dtype.name) for w in worn} == {((64, 96, 3), "uint8")}
    assert sum(np.array_equal(w, image) for w in worn) < 10

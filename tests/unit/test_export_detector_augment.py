"""The detector's augmentation and batches against painted pixels."""

import numpy as np
import pytest

from tests.workshop import is_red, leave, missing, png, red_square

if reason := missing("torch"):
    leave(reason)

import torch

from export import detector_augment
from export.detector import collate
from export.detector_augment import Batches, Sample, clip, mosaic, paste, place
from export.detector_data import DOUBTFUL, FACE, IGNORE, UNCOVERED, Scene
from export.detector_paint import draw_mask, turn_away, wear


def scene(box: tuple[int, int, int, int] = (200, 120, 260, 180)) -> Scene:
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    points = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]) * [width, height] + [x0, y0]
    return Scene(
        "drawn/face.png",
        png(red_square(box)),
        np.array([box], np.float32),
        np.array([FACE]),
        points[None].astype(np.float32),
        np.array([False]),
    )


class TestPlace:
    def test_large_windows_show_faces_that_fill_them(self) -> None:
        face = scene((200, 120, 360, 280))
        samples = [place(face, 640, np.random.default_rng(seed)) for seed in range(200)]
        widths = [np.ptp(s.boxes[:, ::2], axis=1).max(initial=0) for s in samples]
        assert np.mean(np.array(widths) > 0.55 * 640) > 0.1  # a size drawn evenly from 8 px would give half as many

    def test_the_box_and_the_points_land_on_the_face(self) -> None:
        checked, sides = 0, []
        for seed in range(60):
            sample = place(scene(), 320, np.random.default_rng(seed))
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
            sample = place(scene((20, 150, 80, 210)), 320, np.random.default_rng(seed))
            rows, columns = np.nonzero(is_red(sample.image))
            if len(rows) and len(sample.boxes):
                x0, y0, x1, y1 = sample.boxes[0]
                assert x0 - 0.3 * (x1 - x0) - 2 <= columns.mean() <= x1 + 0.3 * (x1 - x0) + 2
                assert y0 - 0.3 * (y1 - y0) - 2 <= rows.mean() <= y1 + 0.3 * (y1 - y0) + 2
                found.add(bool(columns.mean() > 160))
        assert found == {True, False}

    @pytest.mark.parametrize(("under", "kind"), [(0.0, FACE), (1.0, UNCOVERED)])
    def test_a_bare_face_may_get_a_mask_and_the_scene_stays_as_it_is(
        self, monkeypatch: pytest.MonkeyPatch, under: float, kind: int
    ) -> None:
        monkeypatch.setattr(detector_augment, "TURNED", 0.0)
        monkeypatch.setattr(detector_augment, "UNDER", under)
        one = scene()
        one.bare[:], one.kinds[:] = True, UNCOVERED
        before = one.image().copy()
        masked = 0
        for seed in range(30):
            bare = place(scene(), 320, np.random.default_rng(seed)).image
            sample = place(one, 320, np.random.default_rng(seed))
            drawn = bool(np.abs(bare.astype(int) - sample.image).max() > 40)
            assert {*sample.kinds} <= {IGNORE, kind if drawn else UNCOVERED}
            masked += drawn
        assert masked > 3
        assert one.kinds.tolist() == [UNCOVERED]
        assert np.array_equal(one.image(), before)

    def test_a_bare_face_may_turn_away_and_then_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(detector_augment, "DRAWN", 0.0)
        monkeypatch.setattr(detector_augment, "TURNED", 0.5)
        one = scene()
        one.bare[:], one.kinds[:] = True, UNCOVERED
        before = one.image().copy()
        samples = [place(one, 320, np.random.default_rng(seed)) for seed in range(30)]
        assert 5 < sum(len(s.boxes) == 0 for s in samples) < 25
        assert np.array_equal(one.image(), before)
        assert len(one.boxes) == 1


@pytest.mark.parametrize(("top", "turns"), [(120, True), (4, False)])
def test_what_is_above_a_face_is_combed_over_it(top: int, turns: bool) -> None:
    box = (200, top, 260, top + 60)
    picture, hair = red_square(box), (200, 60, 20)
    picture[:top] = hair  # as far down as the face begins
    before = picture.copy()
    assert turn_away(picture, scene(box).landmarks[0], np.random.default_rng(0)) == turns
    if turns:
        assert is_red(picture).sum() < 0.15 * 60 * 60  # the corners of a square stay, as ears would
        assert np.abs(picture[150, 230].astype(int) - hair).max() < 3
        assert (picture[:, :140] == before[:, :140]).all()
    else:  # the picture ends below the hair
        assert (picture == before).all()


class TestPaste:
    """A red place, with no face in it, and grey windows."""

    PLACE = np.array((200, 120, 260, 180), np.float32)

    def pasted(self, seed: int, boxes: tuple[tuple[int, ...], ...] = ()) -> Sample:
        n = len(boxes)
        sample = Sample(
            np.full((320, 320, 3), 128, np.uint8), np.array(boxes, np.float32).reshape(-1, 4), np.full(n, FACE),
            np.zeros((n, 5, 2), np.float32),
        )  # fmt: skip
        paste(sample, scene(), self.PLACE, np.random.default_rng(seed))
        return sample

    def test_the_place_is_shown_at_many_sizes_and_marked_nowhere(self) -> None:
        samples = [self.pasted(seed) for seed in range(60)]
        sides = [np.sqrt(is_red(s.image).sum()) for s in samples]
        assert np.mean(np.array(sides) > 8) > 0.7
        assert max(sides) > 2 * float(np.median([side for side in sides if side > 8]))
        assert not any(len(s.boxes) for s in samples)

    def test_it_keeps_off_what_is_marked(self) -> None:
        for seed in range(60):
            half = self.pasted(seed, ((0, 0, 160, 320),)).image[:, :160]
            assert (half == 128).all()

    def test_batches_paste_places_without_faces_only(self) -> None:
        empty, missed = scene(), scene()
        empty.boxes = empty.boxes[:0]
        empty.kinds, empty.bare, empty.landmarks = empty.kinds[:0], empty.bare[:0], empty.landmarks[:0]
        empty.hard = missed.hard = self.PLACE[None]
        assert [s is empty for s, _ in Batches([(1, [empty, missed])], 4, 0).nothing] == [True]


def test_clip_cuts_drops_and_ignores() -> None:
    boxes = np.array(
        [
            (10, 10, 30, 30),
            (-10, 10, 30, 50),
            (-30, 10, 10, 50),
            (150, 10, 190, 50),
            (50, 50, 55, 55),
            (60, 60, 66, 66),
        ],
        np.float32,
    )
    points = np.zeros((6, 5, 2), np.float32) + np.arange(6, dtype=np.float32)[:, None, None]
    out = clip(Sample(np.zeros((100, 100, 3), np.uint8), boxes, np.full(6, FACE), points))
    assert out.boxes.tolist() == [
        [10, 10, 30, 30],
        [0, 10, 30, 50],  # three quarters are left
        [0, 10, 10, 50],  # one quarter is left
        [50, 50, 55, 55],  # too small
        [60, 60, 66, 66],
    ]
    assert out.kinds.tolist() == [FACE, FACE, IGNORE, IGNORE, FACE]
    assert out.landmarks[:, 0, 0].tolist() == [0, 1, 2, 4, 5]


def test_a_mosaic_keeps_its_boxes_on_the_faces() -> None:
    faces = 0
    for seed in range(25):
        sample = mosaic([scene() for _ in range(4)], 320, np.random.default_rng(seed))
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
    worn = [wear(image, np.random.default_rng(seed)) for seed in range(30)]
    assert {(w.shape, w.dtype.name) for w in worn} == {((64, 96, 3), "uint8")}
    assert sum(np.array_equal(w, image) for w in worn) < 10


def test_batches_hold_about_the_same_number_of_pixels() -> None:
    sets = [(0.9, [scene()]), (0.1, [scene((50, 50, 90, 90))])]
    stream = iter(Batches(sets, 4, seed=0))
    seen = set()
    for _ in range(40):
        batch = next(stream)
        side = batch[0].image.shape[0]
        assert len(batch) == round(4 * (320 / side) ** 2)
        assert all(sample.image.shape == (side, side, 3) for sample in batch)
        seen.add(side)
    assert seen == {320, 480, 640}


def test_only_mosaics_show_several_scenes() -> None:
    def most_faces(mosaics: float) -> int:
        stream = iter(Batches([(1.0, [scene()])], 4, seed=0, mosaics=mosaics))
        return max(len(sample.boxes) for _ in range(10) for sample in next(stream))

    assert len(scene().boxes) == 1
    assert most_faces(0.0) == 1
    assert most_faces(1.0) > 1


def test_collate_keeps_faces_with_their_pictures() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[3, 5] = (10, 20, 30)
    points = np.zeros((2, 5, 2), np.float32)
    first = Sample(image, np.array([(0, 0, 8, 8), (4, 4, 9, 9)], np.float32), np.array([IGNORE, FACE]), points)
    boxes = np.array([(1, 1, 7, 7), (2, 2, 9, 9), (0, 0, 5, 5)], np.float32)
    second = Sample(image, boxes, np.array([FACE, UNCOVERED, DOUBTFUL]), np.zeros((3, 5, 2), np.float32) + 1)
    batch = collate([first, second])
    assert (tuple(batch["images"].shape), batch["images"].dtype) == ((2, 3, 32, 32), torch.uint8)
    assert batch["images"][1, :, 3, 5].tolist() == [10, 20, 30]
    assert batch["faces"].tolist() == [[4, 4, 9, 9], [1, 1, 7, 7], [2, 2, 9, 9]]
    assert batch["owner"].tolist() == [0, 1, 1]
    assert batch["landmarks"][:, 0, 0].tolist() == [0, 1, 1]
    assert batch["uncovered"].tolist() == [False, False, True]
    assert batch["ignored"].tolist() == [[0, 0, 8, 8], [0, 0, 5, 5]]
    assert batch["ignored_owner"].tolist() == [0, 1]
    assert batch["doubtful"].tolist() == [False, True]

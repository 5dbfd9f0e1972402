"""The detector's training batches, and what is pasted into their windows, against painted pixels."""

from dataclasses import replace

import numpy as np
import pytest

from tests.workshop import extent, is_red, leave, missing, red_scene

if reason := missing("torch"):
    leave(reason)

import torch

from export.detector.augment import Sample
from export.detector.batches import Batches, Spot, paste, spots
from export.detector.data import DOUBTFUL, FACE, IGNORE, UNCOVERED
from export.detector.hyperparameters import DEFAULTS, Hyperparameters
from export.detector.train import collate, load_batches


class TestPaste:
    """A red place and grey windows."""

    PLACE = np.array((200, 120, 260, 180), np.float32)

    def pasted(self, seed: int, kind: int | None = None, boxes: tuple[tuple[int, ...], ...] = ()) -> Sample:
        n = len(boxes)
        sample = Sample(
            np.full((320, 320, 3), 128, np.uint8), np.array(boxes, np.float32).reshape(-1, 4), np.full(n, FACE),
            np.zeros((n, 5, 2), np.float32),
        )  # fmt: skip
        scene = red_scene()
        paste(sample, Spot(scene, self.PLACE, kind, scene.landmarks[0]), np.random.default_rng(seed))
        return sample

    def test_a_place_is_shown_at_many_sizes_and_marked_nowhere(self) -> None:
        samples = [self.pasted(seed) for seed in range(60)]
        sides = [np.sqrt(is_red(s.image).sum()) for s in samples]
        assert np.mean(np.array(sides) > 8) > 0.9
        assert max(sides) > 2 * float(np.median([side for side in sides if side > 8]))
        assert not any(len(s.boxes) for s in samples)

    @pytest.mark.parametrize("kind", [UNCOVERED, DOUBTFUL])
    def test_the_box_and_the_points_of_a_face_land_on_it(self, kind: int) -> None:
        for seed in range(60):
            sample = self.pasted(seed, kind)
            (x0, y0, x1, y1), points = sample.boxes[0], sample.landmarks[0]
            side = float(x1 - x0)
            wide = sample.image.astype(int)
            rows, columns = np.nonzero(wide[..., 2] - wide[..., :2].max(2) > 80)  # red in whatever light
            assert sample.kinds.tolist() == [kind]
            assert (sample.boxes.dtype, sample.landmarks.dtype) == (np.float32, np.float32)
            assert min(x0, y0) >= 0
            assert max(x1, y1) <= 320
            if side < 16:
                continue  # too few pixels to measure
            assert abs(columns.mean() + 0.5 - (x0 + x1) / 2) < 1 + side / 30
            assert abs(rows.mean() + 0.5 - (y0 + y1) / 2) < 1 + side / 30
            assert np.sqrt(len(rows)) == pytest.approx(side, abs=2 + 0.15 * side)
            assert points[0, 0] < points[1, 0]  # whichever way round the face is
            assert points[:2, 1].max() < points[3:, 1].min()
            nose = points[2] - [(x0 + x1) / 2, (y0 + y1) / 2]
            assert np.hypot(*nose) == pytest.approx(0.1 * side, rel=0.05)

    def test_it_keeps_off_what_is_marked(self) -> None:
        for seed in range(60):
            half = self.pasted(seed, boxes=((0, 0, 160, 320),)).image[:, :160]
            assert (half == 128).all()

    def test_of_a_scene_only_what_is_surely_there_is_pasted(self) -> None:
        scene = red_scene()
        scene.hard = np.array([(10, 10, 30, 30), self.PLACE], np.float32)
        sides = [(0, 200, 40, 240), (20, 220, 60, 260), (300, 10, 310, 20), (300, 200, 340, 240), (400, 0, 440, 40),
                 (400, 100, 440, 140)]  # fmt: skip
        kinds = [UNCOVERED, UNCOVERED, UNCOVERED, UNCOVERED, DOUBTFUL, IGNORE]  # in each other, tiny, good, good, what?
        scene.boxes = np.vstack([scene.boxes, np.array(sides, np.float32)])
        scene.kinds = np.r_[FACE, kinds]
        scene.landmarks, scene.bare = np.full((7, 5, 2), np.nan, np.float32), np.zeros(7, bool)
        empty, faces = spots(scene)
        assert [s.box.tolist() for s in empty] == [[10, 10, 30, 30]]  # a face is marked at the other
        assert faces == []  # a machine's labels
        scene.by_hand = True
        _, faces = spots(scene)
        assert [(s.box.tolist(), s.kind, s.badly) for s in faces] == [
            (self.PLACE.tolist(), FACE, False),
            ([300, 200, 340, 240], UNCOVERED, True),
            ([400, 0, 440, 40], DOUBTFUL, False),
        ]
        scene.bare[4] = True
        assert [s.badly for s in spots(scene)[1]] == [False, False, False]

    # Nothing is pasted into whole pictures.
    PARTS = Hyperparameters(mosaics=0.0, whole_pictures=0.0, whole_pictures_large=0.0)

    def test_batches_paste_both(self) -> None:
        hp = replace(self.PARTS, pasted_faces=0.5, hard_examples=0.0)
        hand, empty = red_scene(), red_scene()
        hand.by_hand, hand.kinds[:] = True, UNCOVERED
        empty.boxes, empty.kinds, empty.bare = empty.boxes[:0], empty.kinds[:0], empty.bare[:0]
        empty.landmarks, empty.hard = empty.landmarks[:0], self.PLACE[None]
        batches = Batches([(1.0, [empty]), (1e-9, [hand])], 0, hp)
        assert (len(batches.empty), len(batches.faces[0])) == (1, 1)
        stream = iter(batches)
        samples = [sample for _ in range(4) for sample in next(stream)]
        assert 0.3 < np.mean([len(s.boxes) > 0 for s in samples]) < 0.6  # met as a pasted face or not at all
        assert {int(kind) for s in samples for kind in s.kinds} == {UNCOVERED}

    def test_rare_kinds_of_faces_are_pasted_as_often(self) -> None:
        masked, bare, badly, empty = (red_scene() for _ in range(4))
        masked.by_hand = bare.by_hand = badly.by_hand = bare.bare[0] = True
        bare.kinds[:], badly.kinds[:], empty.kinds[:] = UNCOVERED, UNCOVERED, IGNORE
        batches = Batches([(1.0, [empty]), (1e-9, [masked] * 9 + [bare] * 3 + [badly])], 0, self.PARTS)
        assert sorted(len(group) for group in batches.faces) == [1, 3, 9]
        stream = iter(batches)
        kinds = np.concatenate([sample.kinds for _ in range(12) for sample in next(stream)])
        assert (kinds == FACE).sum() > 20
        assert 0.3 < (kinds == FACE).sum() / (kinds == UNCOVERED).sum() < 0.8  # bare ones, and badly masked ones


def test_many_windows_are_whole_pictures_of_those_labelled_by_hand() -> None:
    def wholes(by_hand: bool) -> float:
        scene = red_scene()
        scene.by_hand, scene.kinds[:] = by_hand, IGNORE  # which alone would be shown in parts, and pasted nowhere
        stream = iter(Batches([(1.0, [scene])], 0, Hyperparameters(batch=16, mosaics=0.0)))
        samples = [sample for _ in range(12) for sample in next(stream)]
        whole = 0
        for sample in samples:
            wide, high = extent(sample.image)
            whole += wide >= 0.84 * len(sample.image) and abs(high / wide - 0.75) < 0.02
        return whole / len(samples)

    assert wholes(False) < 0.1
    assert 0.35 < wholes(True) < 0.65


def test_batches_hold_about_the_same_number_of_pixels() -> None:
    sets = [(0.9, [red_scene()]), (0.1, [red_scene((50, 50, 90, 90))])]
    stream = iter(Batches(sets, 0, Hyperparameters(batch=4)))
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
        stream = iter(Batches([(1.0, [red_scene()])], 0, Hyperparameters(batch=4, mosaics=mosaics)))
        return max(len(sample.boxes) for _ in range(10) for sample in next(stream))

    assert len(red_scene().boxes) == 1
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


@pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")
def test_each_process_makes_batches_of_its_own() -> None:
    batches = load_batches([(1.0, [red_scene()])], 0, Hyperparameters(batch=2), workers=2)
    means = [float(next(batches)["images"].float().mean()) for _ in range(6)]
    assert len(set(means)) == 6


def test_the_rate_grows_with_the_square_root_of_the_batch() -> None:
    assert DEFAULTS.scaled_to(DEFAULTS.batch) == DEFAULTS
    scaled = DEFAULTS.scaled_to(4 * DEFAULTS.batch)
    assert scaled == replace(DEFAULTS, batch=4 * DEFAULTS.batch, rate=pytest.approx(2 * DEFAULTS.rate))

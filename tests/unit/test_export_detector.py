"""The detector's arithmetic against numbers worked out by hand, and its augmentation against painted pixels."""

import numpy as np
import pytest

from tests.workshop import is_red, leave, missing, png, red_square

if reason := missing("torch"):
    leave(reason)

import torch

from export import detector_net
from export.detector import collate
from export.detector_augment import Batches, Sample, clip, draw_mask, mosaic, place, wear
from export.detector_data import FACE, IGNORE, Scene
from export.detector_loss import assign, ciou, decode, grid, loss, pair_iou
from export.detector_net import OUTPUTS, FaceNet, YuNetContract, narrow
from export.engines import iou

SIZE = 128
CELLS = grid((SIZE, SIZE), torch.device("cpu"))
NO_BOX, NO_OWNER = torch.zeros((0, 4)), torch.zeros(0, dtype=torch.long)


class TestOverlap:
    A = ((0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 10, 10))
    B = ((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30))
    EXPECTED = (1.0, 1 / 3, 0.0)

    def test_iou_of_every_pair(self) -> None:
        table = iou(np.array(self.A[:1], np.float32), np.array(self.B, np.float32))
        assert table.shape == (1, 3)
        assert table[0] == pytest.approx(self.EXPECTED)
        assert iou(np.zeros((0, 4), np.float32), np.array(self.B, np.float32)).shape == (0, 3)

    def test_pair_iou(self) -> None:
        assert pair_iou(torch.tensor(self.A).float(), torch.tensor(self.B).float()).tolist() == pytest.approx(
            self.EXPECTED
        )

    def test_ciou_takes_off_distance_and_shape(self) -> None:
        a = torch.tensor([(0, 0, 10, 10), (0, 0, 10, 10), (0, 0, 20, 10), (0, 0, 10, 10)]).float()
        b = torch.tensor([(0, 0, 10, 10), (5, 0, 15, 10), (5, -5, 15, 15), (90, 0, 100, 10)]).float()
        # Second: centres 5 apart, hull 15 x 10. Third: one centre, sides swapped. Fourth: apart, hull 100 x 10.
        expected = [1.0, 1 / 3 - 25 / 325, 0.299581, -8100 / 10100]
        assert ciou(a, b).tolist() == pytest.approx(expected, abs=1e-5)


def test_decode_follows_opencv() -> None:
    cells = grid((64, 96), torch.device("cpu"))
    assert len(cells) == 12 * 8 + 6 * 4 + 3 * 2
    at = 2 * 12 + 3  # row 2, column 3 of stride 8
    assert cells[at].tolist() == [24, 16, 8]
    assert cells[-1].tolist() == [64, 32, 32]
    raw = torch.zeros(1, len(cells), 16)
    raw[0, at, 2:6] = torch.tensor([0.5, 0.25, np.log(2.0), 0.0])
    raw[0, at, 6:16] = torch.arange(10.0) / 8
    boxes, points = decode(raw, cells)
    assert boxes[0, at].tolist() == pytest.approx([20, 14, 36, 22])
    assert points[0, at].flatten().tolist() == pytest.approx([24, 17, 26, 19, 28, 21, 30, 23, 32, 25])


def answers(pictures: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(pictures, len(CELLS), 16, generator=torch.Generator().manual_seed(seed)) * 0.3


class TestAssign:
    FACES = torch.tensor([(10, 10, 50, 60), (61, 61, 67, 67), (90, 20, 110, 44), (4, 4, 124, 124), (0, 100, 9, 109)])
    OWNER = torch.tensor([0, 0, 0, 1, 0])

    @pytest.mark.parametrize("seed", range(5))
    def test_every_face_gets_cells_of_its_own_picture_near_it(self, seed: int) -> None:
        raw, faces = answers(2, seed), self.FACES.float()
        b, cell, face = assign(raw, decode(raw, CELLS)[0], CELLS, faces, self.OWNER)
        assert sorted(set(face.tolist())) == [0, 1, 2, 3, 4]
        assert torch.equal(b, self.OWNER[face])
        centre = CELLS[cell, :2] + CELLS[cell, 2:] / 2
        box, reach = faces[face], 1.5 * CELLS[cell, 2:]
        middle = (box[:, :2] + box[:, 2:]) / 2
        within = ((centre >= box[:, :2]) & (centre <= box[:, 2:])).all(1)
        assert (within | ((centre - middle).abs() <= reach).all(1)).all()

    @pytest.mark.parametrize("seed", range(5))
    def test_a_cell_goes_to_one_face_only(self, seed: int) -> None:
        raw = answers(1, seed)
        faces = torch.tensor([(20, 20, 80, 80), (23, 21, 85, 84), (30, 30, 70, 72), (17, 26, 74, 81)]).float()
        _, cell, _ = assign(raw, decode(raw, CELLS)[0], CELLS, faces, torch.zeros(4, dtype=torch.long))
        assert len(cell) == len(set(cell.tolist())) > 0

    def test_a_cell_goes_to_one_face_even_at_the_same_cost(self) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        faces = torch.tensor([(20, 20, 80, 80), (20, 20, 80, 80)]).float()
        _, cell, _ = assign(raw, decode(raw, CELLS)[0], CELLS, faces, torch.zeros(2, dtype=torch.long))
        assert len(cell) == len(set(cell.tolist())) > 0

    def test_a_face_of_6_pixels_is_assigned(self) -> None:
        raw = answers(1)
        for x in range(40, 48):
            faces = torch.tensor([(x, 57, x + 6, 63)]).float()
            _, _, face = assign(raw, decode(raw, CELLS)[0], CELLS, faces, torch.zeros(1, dtype=torch.long))
            assert len(face) >= 1

    def test_no_face(self) -> None:
        raw = answers(1)
        assert [len(x) for x in assign(raw, decode(raw, CELLS)[0], CELLS, NO_BOX, NO_OWNER)] == [0, 0, 0]


class TestLoss:
    FACES = torch.tensor([(30.0, 34.0, 80.0, 90.0)])
    POINTS = torch.tensor([[(42.0, 55.0), (66.0, 55.0), (54.0, 66.0), (45.0, 76.0), (63.0, 76.0)]])
    OWNER = torch.zeros(1, dtype=torch.long)

    def parts(self, raw: torch.Tensor, points: torch.Tensor | None = None) -> dict[str, float]:
        points = self.POINTS if points is None else points
        found = loss(raw, CELLS, self.FACES, self.OWNER, points, NO_BOX, NO_OWNER)
        return {name: float(value) for name, value in found.items()}

    def test_the_truth_costs_next_to_nothing(self) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., :2] = -4
        before = self.parts(raw)
        corner, stride = CELLS[:, :2], CELLS[:, 2:]
        low, high = self.FACES[0, :2], self.FACES[0, 2:]
        raw[0, :, 2:4] = ((low + high) / 2 - corner) / stride
        raw[0, :, 4:6] = ((high - low) / stride).log()
        raw[0, :, 6:16] = ((self.POINTS[0] - corner[:, None]) / stride[:, None]).flatten(1)
        boxed = self.parts(raw)
        assert boxed["box"] < 0.01 < 1 < before["box"]
        assert boxed["kps"] < 0.01 < before["kps"]
        _, cell, _ = assign(raw, decode(raw, CELLS)[0], CELLS, self.FACES, self.OWNER)
        raw[..., :2] = -12
        raw[0, cell, :2] = 12
        after = self.parts(raw)
        assert after["cls"] + after["obj"] < 0.01 < boxed["cls"] + boxed["obj"]

    def test_unknown_landmarks_cost_nothing_and_spoil_nothing(self) -> None:
        raw = answers(1).requires_grad_()
        found = loss(raw, CELLS, self.FACES, self.OWNER, self.POINTS * torch.nan, NO_BOX, NO_OWNER)
        assert float(found["kps"].detach()) == 0
        torch.stack(list(found.values())).sum().backward()
        assert raw.grad is not None
        assert raw.grad.isfinite().all()

    def test_ignored_regions_cost_nothing(self) -> None:
        hot = torch.full((2, len(CELLS), 16), 0.0)
        hot[..., :2] = -6
        cold = hot.clone()
        region = torch.tensor([(96.0, 96.0, 112.0, 112.0)])
        inside = ((CELLS[:, :2] >= 96) & (CELLS[:, :2] + CELLS[:, 2:] <= 112)).all(1)
        assert inside.sum() > 3
        hot[0, inside, :2] = 6

        def cost(raw: torch.Tensor, picture: int | None) -> float:
            ignored = NO_BOX if picture is None else region
            owner = NO_OWNER if picture is None else torch.tensor([picture])
            nothing = torch.zeros((0, 5, 2))
            return float(sum(loss(raw, CELLS, NO_BOX, NO_OWNER, nothing, ignored, owner).values()))

        assert cost(hot, None) > cost(cold, None) + 1
        assert cost(hot, 0) == pytest.approx(cost(cold, 0))
        assert cost(hot, 1) == pytest.approx(cost(hot, None), rel=1e-3)  # another picture's region


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

    def test_a_bare_face_may_get_a_mask_and_the_scene_stays_as_it_is(self) -> None:
        one = scene()
        one.bare[:] = True
        before = one.image().copy()
        masked = 0
        for seed in range(30):
            bare = place(scene(), 320, np.random.default_rng(seed)).image
            masked += bool(np.abs(bare.astype(int) - place(one, 320, np.random.default_rng(seed)).image).max() > 40)
        assert masked > 3
        assert np.array_equal(one.image(), before)


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


def test_a_drawn_mask_changes_the_lower_face_only() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (200, 200, 3), np.uint8)
    points = np.array([(80, 80), (120, 80), (100, 100), (85, 120), (115, 120)], np.float32)
    for seed in range(30):
        image = picture.copy()
        draw_mask(image, points, np.random.default_rng(seed))
        rows, columns = np.nonzero((image != picture).any(2))
        assert 86 <= rows.min() < 112  # below the eyes
        assert 130 < rows.max() <= 156  # over the chin
        assert 55 <= columns.min() < 85 < 115 < columns.max() <= 145
        assert (image != picture).any(2)[115:126, 90:111].mean() > 0.9  # the mouth


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
    second = Sample(image, np.array([(1, 1, 7, 7), (2, 2, 9, 9)], np.float32), np.array([FACE, FACE]), points + 1)
    batch = collate([first, second])
    assert (tuple(batch["images"].shape), batch["images"].dtype) == ((2, 3, 32, 32), torch.uint8)
    assert batch["images"][1, :, 3, 5].tolist() == [10, 20, 30]
    assert batch["faces"].tolist() == [[4, 4, 9, 9], [1, 1, 7, 7], [2, 2, 9, 9]]
    assert batch["owner"].tolist() == [0, 1, 1]
    assert batch["landmarks"][:, 0, 0].tolist() == [0, 1, 1]
    assert batch["ignored"].tolist() == [[0, 0, 8, 8]]
    assert batch["ignored_owner"].tolist() == [0]


class TestNet:
    def test_maps(self) -> None:
        maps = FaceNet()(torch.zeros(2, 3, 64, 96))
        assert [tuple(m.shape) for m in maps] == [(2, 16, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]

    def test_the_contract_gives_opencvs_twelve_outputs(self) -> None:
        net = FaceNet().eval()
        image = torch.rand(1, 3, 64, 96) * 255
        with torch.inference_mode():
            out = dict(zip(OUTPUTS, YuNetContract(net).eval()(image), strict=True))
            maps = net(image)
        channels = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        for name, value in out.items():
            head, stride = name.split("_")
            assert tuple(value.shape) == (1, 64 // int(stride) * (96 // int(stride)), channels[head])
        assert torch.equal(out["bbox_16"][0, 4 * 1 + 3 + 2], maps[1][0, 2:6, 1, 3])  # row 1, column 3 of six
        assert torch.allclose(out["obj_8"][0, 13, 0], maps[0][0, 1, 1, 1].sigmoid())

    def test_narrowing_drops_the_channels_that_answers_weigh_least(self, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.manual_seed(0)
        monkeypatch.setattr(detector_net, "TOWER", 48)
        wide = FaceNet().eval()
        with torch.no_grad():
            for head in wide.heads:
                head.out.weight[:, 1::3] = 0  # sixteen channels that no answer needs
        monkeypatch.undo()
        cut = FaceNet().eval()
        cut.load_state_dict(narrow(wide.state_dict()))
        image = torch.rand(1, 3, 64, 96) * 255
        with torch.inference_mode():
            for a, b in zip(wide(image), cut(image), strict=True):
                assert torch.allclose(a, b, atol=1e-5)

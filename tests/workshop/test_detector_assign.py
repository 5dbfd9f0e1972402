"""The detector's overlaps, decoding and assignment against numbers worked out by hand."""

import numpy as np
import pytest

from tests.workshop import leave, missing

if reason := missing("torch"):
    leave(reason)

import torch

from export.common.engines import iou
from export.detector.evaluate import matches
from export.detector.loss import assign, by_picture, decode, finds, grid, pair_iou

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

    def test_finds_is_what_evaluation_counts(self) -> None:
        rng = np.random.default_rng(0)
        boxes, faces = (rng.uniform(0, 50, (*shape, 4)).astype(np.float32) for shape in ((3, 200), (9,)))
        for corners in (boxes, faces):
            corners[..., 2:] += corners[..., :2] + 2
        owner = np.repeat([0, 1], [4, 5])  # the third picture is empty
        of, by = torch.from_numpy(faces), torch.from_numpy(owner)
        found = by_picture(finds(torch.from_numpy(boxes), of, by), by, len(boxes)).numpy()
        for i in range(2):
            assert found[i].tolist() == matches(boxes[i], faces[owner == i]).any(1).tolist()
            assert 10 < found[i].sum() < 100
        assert not found[2].any()


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

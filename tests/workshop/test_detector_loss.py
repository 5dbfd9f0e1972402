"""The detector's loss against numbers worked out by hand."""

import numpy as np
import pytest

from tests.workshop import leave, missing

if reason := missing("torch"):
    leave(reason)

import torch

from export.detector.hyperparameters import DEFAULTS, Hyperparameters
from export.detector.loss import (
    assign,
    best,
    cells_in_boxes,
    decode,
    distillation_loss,
    highest,
    loss,
    partial_auc_loss,
)
from tests.workshop.test_detector_assign import CELLS, NO_BOX, NO_OWNER, answers

NOTHING = (NO_BOX, NO_OWNER, NO_OWNER > 0)  # ignored
REGION = torch.tensor([(90.0, 90.0, 118.0, 118.0)])


def ciou_loss(a: list[float], b: list[float]) -> float:
    """As 'Distance-IoU Loss' (1911.08287) has it, of two boxes xyxy."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = a, b
    wa, ha, wb, hb = ax1 - ax0, ay1 - ay0, bx1 - bx0, by1 - by0
    shared = max(0.0, min(ax1, bx1) - max(ax0, bx0)) * max(0.0, min(ay1, by1) - max(ay0, by0))
    iou = shared / (wa * ha + wb * hb - shared)
    apart = ((ax0 + ax1 - bx0 - bx1) ** 2 + (ay0 + ay1 - by0 - by1) ** 2) / 4
    hull = (max(ax1, bx1) - min(ax0, bx0)) ** 2 + (max(ay1, by1) - min(ay0, by0)) ** 2
    shape = 4 / np.pi**2 * (np.arctan(wb / hb) - np.arctan(wa / ha)) ** 2
    return 1 - iou + apart / hull + shape**2 / (1 - iou + shape)


class TestRank:
    """Two pictures of four cells: two faces in the first, each with two cells; the second picture is empty."""

    CELLS = (torch.tensor([0, 0, 0, 0]), torch.tensor([0, 1, 2, 3]))
    FACE = torch.tensor([4, 4, 7, 7])
    EMPTY = torch.tensor([[False] * 4, [True] * 4])

    WEIGHT = torch.ones(8)

    def ranked(self, score: torch.Tensor, empty: torch.Tensor, weight: torch.Tensor, worst: int) -> torch.Tensor:
        return partial_auc_loss(highest(score, empty, worst), best(score, self.CELLS, self.FACE, 8), weight)

    def cost(self, faces: list[float], places: list[float], worst: int = 2, weight: torch.Tensor = WEIGHT) -> float:
        return float(self.ranked(torch.tensor([faces, places]).float(), self.EMPTY, weight, worst))

    def test_it_is_the_share_of_pairs_in_the_wrong_order(self) -> None:
        assert self.cost([90, 0, 0, 90], [50, 50, 50, 50]) == pytest.approx(0)
        assert self.cost([90, 0, 0, 10], [50, 50, 50, 50]) == pytest.approx(0.5)
        assert self.cost([20, 0, 0, 10], [50, 50, 50, 50]) == pytest.approx(1)

    def test_only_the_highest_empty_places_count(self) -> None:
        assert self.cost([20, 0, 0, 20], [50, 10, 10, 10]) == pytest.approx(0.5)
        assert self.cost([20, 0, 0, 20], [50, 10, 10, 10], worst=4) == pytest.approx(0.25)

    def test_a_face_counts_by_its_weight(self) -> None:
        weight = self.WEIGHT.clone()
        weight[7] = 3
        assert self.cost([90, 0, 0, 10], [50, 50, 50, 50], weight=weight) == pytest.approx(0.75)
        assert self.cost([10, 0, 0, 90], [50, 50, 50, 50], weight=weight) == pytest.approx(0.25)

    def test_a_step_down_it_lifts_the_faces_and_lowers_the_places(self) -> None:
        score = torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 0.5, -9.0, -9.0]], requires_grad=True)
        self.ranked(score, self.EMPTY, self.WEIGHT, 2).backward()  # type: ignore[no-untyped-call]
        assert score.grad is not None
        assert score.grad.sign().tolist() == [[-1, 0, 0, -1], [1, 1, 0, 0]]

    def test_without_an_empty_place_or_a_face_it_costs_nothing(self) -> None:
        assert float(self.ranked(torch.ones(2, 4), self.EMPTY & False, self.WEIGHT, 2)) == 0
        assert float(partial_auc_loss(torch.tensor([5.0, 6.0]), torch.full((3,), -torch.inf), torch.ones(3))) == 0


class TestLoss:
    FACES = torch.tensor([(30.0, 34.0, 80.0, 90.0)])
    POINTS = torch.tensor([[(42.0, 55.0), (66.0, 55.0), (54.0, 66.0), (45.0, 76.0), (63.0, 76.0)]])
    OWNER = torch.zeros(1, dtype=torch.long)
    COVERED = torch.tensor([False])

    def parts(self, raw: torch.Tensor, points: torch.Tensor | None = None) -> dict[str, float]:
        points = self.POINTS if points is None else points
        found = loss(raw, CELLS, self.FACES, self.OWNER, self.COVERED, points, *NOTHING)
        return {name: float(value) for name, value in found.items()}

    def test_the_box_part_is_the_mean_complete_iou_loss_of_the_assigned_cells(self) -> None:
        raw, owner = answers(1), torch.tensor([0])
        raw[..., 4:6] += 1  # so that several fit well enough to be assigned
        boxes = decode(raw, CELLS)[0]
        b, cell, face = assign(raw, boxes, CELLS, self.FACES, owner)
        losses = [ciou_loss(*pair) for pair in zip(boxes[b, cell].tolist(), self.FACES[face].tolist(), strict=True)]
        assert len(losses) > 1
        assert self.parts(raw)["box"] == pytest.approx(DEFAULTS.box_weight * float(np.mean(losses)), rel=1e-4)

    @pytest.mark.parametrize("size", [-100.0, 100.0])
    def test_boxes_without_area_or_bounds_have_a_gradient_all_the_same(self, size: float) -> None:
        raw = answers(1)
        raw[..., 4:6] = size
        raw.requires_grad_()
        owner = torch.tensor([0])
        found = loss(raw, CELLS, self.FACES, owner, owner > 0, self.POINTS, *NOTHING)
        sum(found.values()).backward()
        assert raw.grad.isfinite().all()
        assert (raw.grad[..., 2:4] != 0).any()

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

    @pytest.mark.parametrize(
        ("place", "ignored", "doubtful", "costs"),
        [
            ((96, 96, 112, 112), NO_BOX, False, True),
            ((96, 96, 112, 112), REGION, False, False),  # nobody knows what is there
            ((96, 96, 112, 112), REGION, True, True),  # a face, but too poor a view
            ((31, 35, 47, 51), NO_BOX, False, True),  # small boxes, on the face itself, that are not the face
        ],
    )
    def test_a_place_that_scores_above_the_face_costs_rank(
        self, place: tuple[int, ...], ignored: torch.Tensor, doubtful: bool, costs: bool
    ) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., :2] = -8
        _, cell, _ = assign(raw, decode(raw, CELLS)[0], CELLS, self.FACES, self.OWNER)
        hot = (CELLS[:, :2] >= torch.tensor(place[:2])) & (CELLS[:, :2] + CELLS[:, 2:] <= torch.tensor(place[2:]))
        raw[0, hot.all(1), :2] = 8
        raw[0, cell, :2] = 2
        owner = torch.zeros(len(ignored), dtype=torch.long)
        regions = (ignored, owner, torch.full((len(ignored),), doubtful))
        parts = loss(raw, CELLS, self.FACES, self.OWNER, self.COVERED, self.POINTS, *regions)
        assert float(parts["rank"]) > 1 if costs else float(parts["rank"]) < 0.01
        assert not doubtful or float(parts["obj"]) < 1

    def test_doubtful_faces_that_score_higher_hide_no_empty_place(self) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., :2] = -8
        _, cell, _ = assign(raw, decode(raw, CELLS)[0], CELLS, self.FACES, self.OWNER)
        raw[0, cells_in_boxes(CELLS, REGION)[0], :2] = 9
        raw[0, cell, :2] = 2
        raw[0, 0, :2] = 3  # in the picture's corner
        raw.requires_grad_()
        regions = (REGION, torch.tensor([0]), torch.tensor([True]))
        loss(raw, CELLS, self.FACES, self.OWNER, self.COVERED, self.POINTS, *regions)["rank"].backward()
        assert raw.grad is not None
        assert float(raw.grad[0, 0, 0]) > 0.1

    @pytest.mark.parametrize(
        ("score", "cells", "costs"), [(9, 1, True), (9, 8, True), (-4, 8, False), (None, 0, False)]
    )
    def test_a_doubtful_face_that_scores_higher_costs_the_same_however_many_cells_see_it(
        self, score: float | None, cells: int, costs: bool
    ) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., :2] = -8
        _, cell, _ = assign(raw, decode(raw, CELLS)[0], CELLS, self.FACES, self.OWNER)
        raw[0, cell, :2] = 2
        if score is not None:
            seen = cells_in_boxes(CELLS, REGION)[0].nonzero()[:cells, 0]
            raw[0, seen, :2] = score
        regions = NOTHING if score is None else (REGION, torch.tensor([0]), torch.tensor([True]))
        cost = float(loss(raw, CELLS, self.FACES, self.OWNER, self.COVERED, self.POINTS, *regions)["doubt"])
        assert cost == pytest.approx(DEFAULTS.doubt_weight if costs else 0, abs=0.01)

    def test_a_place_whose_box_is_the_face_costs_no_rank(self) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., :2] = -8
        raw[..., 2:4] = (torch.tensor([55.0, 62.0]) - CELLS[:, :2]) / CELLS[:, 2:]
        raw[..., 4:6] = (torch.tensor([50.0, 56.0]) / CELLS[:, 2:]).log()
        raw[0, 1::2, :2] = 8
        level = DEFAULTS.rank_weight / (
            1 + np.exp(DEFAULTS.covered_margin / DEFAULTS.rank_width)
        )  # of a face that scores as an empty place does
        for shift, cost in ((0, 0), (30, level)):  # the second lies half on the face, half beside it
            raw[0, 1::2, 2] += shift / CELLS[1::2, 2]
            parts = loss(raw, CELLS, self.FACES, self.OWNER, self.COVERED, self.POINTS, *NOTHING)
            assert float(parts["rank"]) == pytest.approx(cost, abs=0.01)

    def test_missing_an_uncovered_face_costs_more_and_its_box_does_not(self) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., :2] = -8
        costs = [
            loss(raw, CELLS, self.FACES, self.OWNER, torch.tensor([uncovered]), self.POINTS, *NOTHING)
            for uncovered in (False, True)
        ]
        more = (
            DEFAULTS.uncovered_weight * 8 / (8 - DEFAULTS.covered_margin)
        )  # so far below nought, a score costs what it lacks
        for part, ratio in {"obj": more, "cls": more, "box": 1, "kps": 1}.items():
            assert float(costs[1][part]) == pytest.approx(ratio * float(costs[0][part]), rel=0.01)

    def test_what_teachers_tell_costs_nothing_where_it_is_known_and_pulls_elsewhere(self) -> None:
        raw = answers(1).requires_grad_()
        teacher_logits = raw[..., :2].detach().clone()
        rest = (self.FACES, self.OWNER, torch.tensor([True]), self.POINTS, *NOTHING)
        assert "distillation" not in loss(raw, CELLS, *rest)
        assert float(loss(raw, CELLS, *rest, teacher_logits=teacher_logits)["distillation"].detach()) == pytest.approx(
            0, abs=1e-4
        )
        teacher_logits[0, 5, 0] += 3
        teacher_logits[0, 9, 1] -= 3
        cost = loss(raw, CELLS, *rest, teacher_logits=teacher_logits)["distillation"]
        assert float(cost.detach()) > 0.05
        cost.backward()
        assert raw.grad is not None
        assert float(raw.grad[0, 5, 0]) < -0.01  # up
        assert float(raw.grad[0, 9, 1]) > 0.01
        raw.grad[0, 5, 0] = raw.grad[0, 9, 1] = 0
        assert float(raw.grad.abs().max()) < 1e-5

    def test_what_teachers_tell_of_doubtful_faces_is_not_learnt(self) -> None:
        raw = answers(1)
        teacher_logits = raw[..., :2].clone()
        teacher_logits[cells_in_boxes(CELLS, REGION)] += 5
        rest = (self.FACES, self.OWNER, self.COVERED, self.POINTS, REGION, torch.tensor([0]))
        parts = [
            loss(raw, CELLS, *rest, torch.tensor([doubtful]), teacher_logits=teacher_logits)
            for doubtful in (True, False)
        ]
        assert float(parts[0]["distillation"]) == pytest.approx(0, abs=1e-4)
        assert float(parts[1]["distillation"]) > 1

    def test_what_teachers_tell_of_a_face_is_lowered_where_it_is_not_known_to_be_uncovered(self) -> None:
        raw = torch.zeros(1, len(CELLS), 16)
        raw[..., 2:4] = (torch.tensor([55.0, 62.0]) - CELLS[:, :2]) / CELLS[:, 2:]
        raw[..., 4:6] = (torch.tensor([50.0, 56.0]) / CELLS[:, 2:]).log()
        raw[0, 1::2, 2] += 99 / CELLS[1::2, 2]  # every other cell's box lies beside the face
        teacher_logits = raw[..., :2].clone()
        raw[0, ::2, :2] -= DEFAULTS.teacher_margin

        def cost(uncovered: bool, raw: torch.Tensor) -> float:
            face = (self.FACES, self.OWNER, torch.tensor([uncovered]), self.POINTS)
            return float(loss(raw, CELLS, *face, *NOTHING, teacher_logits=teacher_logits)["distillation"])

        assert cost(False, raw) == pytest.approx(0, abs=1e-4)
        assert cost(True, raw) > 0.01
        raw[..., :2] = teacher_logits
        assert cost(True, raw) == pytest.approx(0, abs=1e-4)
        assert cost(False, raw) > 0.01

    def test_what_is_told_of_unlabelled_windows_counts_by_the_cells_with_a_face(self) -> None:
        teacher_logits = torch.full((2, 50, 2), -20.0)
        said = teacher_logits.clone()
        teacher_logits[0, :3] = 20
        one, more = (float(distillation_loss(said, teacher_logits, count)) for count in (1, 6))
        assert one == pytest.approx(3 * 2 * 20)  # three faces, two scores, 20 of log-odds each
        assert more == pytest.approx(one / 6)
        assert float(distillation_loss(said, teacher_logits)) == pytest.approx(one / 3)
        assert float(distillation_loss(said, said)) == 0

    def test_weights_scale_their_parts(self) -> None:
        raw = answers(1)
        given = (self.FACES, self.OWNER, self.COVERED, self.POINTS, REGION, torch.tensor([0]), torch.tensor([True]))
        double = Hyperparameters(
            box_weight=2 * DEFAULTS.box_weight, landmark_weight=2 * DEFAULTS.landmark_weight,
            rank_weight=2 * DEFAULTS.rank_weight, doubt_weight=2 * DEFAULTS.doubt_weight,
            distillation_weight=2 * DEFAULTS.distillation_weight,
        )  # fmt: skip
        once, twice = (loss(raw, CELLS, *given, teacher_logits=raw[..., :2] + 1, hp=hp) for hp in (DEFAULTS, double))
        ratios = {name: float(twice[name] / once[name]) for name in once}
        assert ratios == pytest.approx(
            {"box": 2, "kps": 2, "rank": 2, "doubt": 2, "distillation": 2, "cls": 1, "obj": 1}
        )

    def test_it_is_computed_where_the_answers_are(self) -> None:
        raw = answers(2)
        given = (self.FACES, self.OWNER, self.COVERED, self.POINTS, REGION, torch.tensor([1]), torch.tensor([True]))
        here = loss(raw, CELLS, *given, teacher_logits=raw[..., :2] + 1)
        with torch.device("meta"):  # a tensor that is made anywhere else holds nothing
            assert loss(raw, CELLS, *given, teacher_logits=raw[..., :2] + 1) == here

    def test_unknown_landmarks_cost_nothing_and_spoil_nothing(self) -> None:
        raw = answers(1).requires_grad_()
        found = loss(raw, CELLS, self.FACES, self.OWNER, self.COVERED, self.POINTS * torch.nan, *NOTHING)
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
            no_points = torch.zeros((0, 5, 2))
            parts = loss(raw, CELLS, NO_BOX, NO_OWNER, NO_OWNER > 0, no_points, ignored, owner, owner < 0)
            return float(sum(parts.values()))

        assert cost(hot, None) > cost(cold, None) + 1
        assert cost(hot, 0) == pytest.approx(cost(cold, 0))
        assert cost(hot, 1) == pytest.approx(cost(hot, None), rel=1e-3)  # another picture's region

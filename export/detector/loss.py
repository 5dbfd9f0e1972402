"""Label assignment and loss of the anchor-free detector.

Label assignment is SimOTA ('YOLOX: Exceeding YOLO Series in 2021', 2107.08430), computed for all faces of a batch at
once. The box loss is CIoU ('Distance-IoU Loss', 1911.08287), the landmark loss smooth L1 ('Fast R-CNN', 1504.08083).
The cls target is the IoU of the box ('Generalized Focal Loss', 2006.04388), so the score also ranks localisation;
negatives are weighted by their own score ('VarifocalNet', 2008.13367). Such losses of single cells hardly depend on the
few hardest negatives, which set the threshold; `partial_auc_loss` does.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from export.detector.hyperparameters import DEFAULTS, Hyperparameters
from export.detector.net import STRIDES

CENTRE_RADIUS = 1.5  # strides, of centre sampling: cells this near a face's centre are candidates too
CANDIDATE_K = 10  # candidate cells of a face, whose summed IoU is SimOTA's dynamic k
LARGEST = 6.0  # clamp of the log size in strides: the CIoU of a box without area in float32 is NaN


def grid(size: tuple[int, int], device: torch.device) -> Tensor:
    """Anchor points (cells, 3): x, y of every cell's corner in pixels, and stride, for an input of (height, width)."""
    parts = []
    for s in STRIDES:
        rows, columns = torch.meshgrid(
            torch.arange(size[0] // s, device=device), torch.arange(size[1] // s, device=device), indexing="ij"
        )
        parts.append(
            torch.stack([columns.flatten() * s, rows.flatten() * s, torch.full((rows.numel(),), s, device=device)], 1)
        )
    return torch.cat(parts).float()


def decode(raw: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Raw predictions (B, N, 16) -> boxes (B, N, 4) xyxy and landmarks (B, N, 5, 2) in pixels."""
    corner, stride = cells[:, :2], cells[:, 2:]
    centre = corner + raw[..., 2:4] * stride
    half = raw[..., 4:6].clamp(-LARGEST, LARGEST).exp() * stride / 2
    points = corner[:, None] + raw[..., 6:16].unflatten(-1, (5, 2)) * stride[:, None]  # type: ignore[no-untyped-call]
    return torch.cat([centre - half, centre + half], -1), points


def pair_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of (..., 4) with (..., 4), broadcast."""
    inter = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    area = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return inter / (area - inter).clamp(min=1e-6)


@torch.no_grad()
def assign(raw: Tensor, boxes: Tensor, cells: Tensor, faces: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """SimOTA label assignment over a whole batch.

    Args:
        raw, boxes: (B, N, 16) predictions and their decoded boxes. faces: (M, 4) of all; owner: (M,) picture index.

    Returns:
        picture index, cell index and face index of every positive (assigned cell), each (P,).
    """
    n = cells.shape[0]
    centres = cells[:, :2] + cells[:, 2:] / 2  # (N, 2)
    inside = ((centres >= faces[:, None, :2]) & (centres <= faces[:, None, 2:])).all(-1)  # (M, N)
    middle = (faces[:, :2] + faces[:, 2:]) / 2
    near = ((centres - middle[:, None]).abs() <= CENTRE_RADIUS * cells[:, 2:]).all(-1)
    candidate = inside | near
    iou = pair_iou(boxes[owner], faces[:, None]) * candidate  # (M, N)
    score = (raw[..., 0].sigmoid() * raw[..., 1].sigmoid()).sqrt()[owner]  # (M, N)
    cost = -score.clamp(min=1e-6).log() - 3 * iou.clamp(min=1e-6).log() + 1e3 * ~(inside & near) + 1e6 * ~candidate
    k = iou.topk(min(CANDIDATE_K, n), 1).values.sum(1).int().clamp(min=1)  # (M,)
    lowest, index = cost.topk(min(CANDIDATE_K, n), 1, largest=False)  # (M, 10), ascending
    chosen = (torch.arange(index.shape[1], device=k.device) < k[:, None]) & (lowest < 1e6)
    face, slot = chosen.nonzero(as_tuple=True)
    cell, price = index[face, slot], lowest[face, slot]
    # A cell assigned to several faces goes to the one of least cost.
    key = owner[face] * n + cell
    cheapest = cost.new_full((int(raw.shape[0]) * n,), torch.inf).scatter_reduce(0, key, price, "amin")
    won = price <= cheapest[key]
    # Equal costs: the first face.
    first = torch.full_like(cheapest, torch.inf).scatter_reduce(0, key[won], face[won].float(), "amin")
    won &= face == first[key]
    return owner[face][won], cell[won], face[won]


def partial_auc_loss(negatives: Tensor, faces: Tensor, weight: Tensor, width: float = DEFAULTS.rank_width) -> Tensor:
    """Pairwise ranking loss, 1 - partial AUC: the share of (negative, face) pairs in the wrong order, 0..1.

    Few false positives are allowed, so a face is detected when it scores above nearly all negatives: the area under the
    ROC curve at low false positive rates ('A Structural SVM Based Approach for Optimizing Partial AUC', ICML 2013), a
    sigmoid in place of each comparison. A face with a far too low score, maybe mislabelled, gets hardly any gradient.

    Args:
        negatives: (R,) log-odds. faces: (M,) log-odds, -inf of those left out, see `best`.
        weight: (M,) of each face. width: temperature of the sigmoid, log-odds.
    """
    faces, weight = faces[faces.isfinite()], weight[faces.isfinite()]
    if len(negatives) == 0 or len(faces) == 0:
        return (negatives.sum() + faces.sum()) * 0  # zero, and still part of the graph
    return weight @ ((negatives[None] - faces[:, None]) / width).sigmoid().mean(1) / weight.sum()


def highest(score: Tensor, some: Tensor, count: int) -> Tensor:
    """Online hard negatives: the `count` highest of (B, N) scores, or fewer, in the cells of `some`, bool (B, N)."""
    return score.masked_fill(~some, -torch.inf).flatten().topk(min(count, int(some.sum()))).values


def best(score: Tensor, positive: tuple[Tensor, Tensor], face: Tensor, faces: int) -> Tensor:
    """(faces,) the highest score (B, N) of each face's cells; -inf: it has none, all went to others.

    positive: picture and cell index of every positive, (P,) each; face: (P,) the face that each is assigned to.
    """
    return score.new_full((faces,), -torch.inf).scatter_reduce(0, face, score[positive], "amax")


def cells_in_boxes(cells: Tensor, boxes: Tensor) -> Tensor:
    """bool (M, N): cells within half a stride of each box (M, 4). A cell of a coarse map next to a small face may
    predict it too."""
    centres, reach = cells[:, :2] + cells[:, 2:] / 2, cells[:, 2:] / 2
    return ((centres + reach >= boxes[:, None, :2]) & (centres - reach <= boxes[:, None, 2:])).all(-1)


def by_picture(hit: Tensor, owner: Tensor, pictures: int) -> Tensor:
    """bool (pictures, N): where any row of `hit`, bool (M, N), of that picture is true; owner: (M,) picture index."""
    return hit.new_zeros(pictures, hit.shape[1], dtype=torch.float32).index_put_((owner,), hit.float(), True) > 0


def finds(boxes: Tensor, faces: Tensor, owner: Tensor) -> Tensor:
    """bool (M, N): boxes (B, N, 4) that match each of the faces (M, 4) of their picture `owner` (M,), by the rule of
    `evaluate.matches`. A box across two neighbouring faces matches neither, though its cell is on a face."""
    overlap = pair_iou(boxes[owner], faces[:, None])
    size, face = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[owner], (faces[:, 2:] - faces[:, :2]).prod(-1)[:, None]
    shared = overlap * (size + face) / (1 + overlap)
    return (overlap >= 0.3) | ((shared >= 0.75 * size) & (size >= 0.125 * face))


def distillation_loss(logits: Tensor, teacher_logits: Tensor, count: int | None = None) -> Tensor:
    """Kullback-Leibler divergence of the student's probabilities of cls and obj from the teachers' ('Distilling the
    Knowledge in a Neural Network', 1503.02531), from logits (..., 2); 0 where they agree. Summed, and divided by
    `count`, or by the number of cells in which teachers see a face."""
    sure = teacher_logits.sigmoid()
    off, least = (F.binary_cross_entropy_with_logits(x, sure, reduction="sum") for x in (logits, teacher_logits))
    return (off - least) / (count or sure[..., 1].sum().clamp(min=1))


def loss(
    raw: Tensor, cells: Tensor, faces: Tensor, owner: Tensor, uncovered: Tensor, landmarks: Tensor, ignored: Tensor,
    ignored_owner: Tensor, doubtful: Tensor, teacher_logits: Tensor | None = None, hp: Hyperparameters = DEFAULTS,
) -> dict[str, Tensor]:  # fmt: skip
    """The terms of the loss, each divided by the number of positives. Uncovered faces have a higher weight in cls and
    obj, the others a logit margin.

    Args:
        raw: (B, N, 16) float32. faces: (M, 4) xyxy pixels, owner (M,), uncovered bool (M,), landmarks (M, 5, 2) with
            NaN where unknown.
        ignored: (K, 4) regions whose cells are ignored, ignored_owner (K,); those that are doubtful, bool (K,), hold an
            unlabelled face, which is trained to score below the labelled ones.
        teacher_logits: (B, N, 2) of every cell, the target of `distillation_loss`; None: no teacher.
    """
    boxes, points = decode(raw, cells)
    b, cell, face = assign(raw.detach(), boxes.detach(), cells, faces, owner)
    count = max(1, len(b))
    positive = raw.new_zeros(raw.shape[:2])
    positive[b, cell] = 1.0
    weight = 1 + (hp.uncovered_weight - 1) * uncovered.float()  # of a face
    quality, weights, margin = (torch.full_like(positive, start) for start in (0.0, 1.0, 0.0))
    weights[b, cell], margin[b, cell] = weight[face], hp.covered_margin * ~uncovered[face]
    scores = raw[..., :2] + margin[..., None]
    if len(b):
        quality[b, cell] = pair_iou(boxes.detach()[b, cell], faces[face]).clamp(0, 1)
    hit = cells_in_boxes(cells, ignored)
    ignored_cells, doubtful_cells = (by_picture(hit[k], ignored_owner[k], len(raw)) for k in (~doubtful, doubtful))
    counted = (~(ignored_cells | doubtful_cells) | (positive > 0)).float()
    # Focal weight on negatives, as nearly all are easy ('Focal Loss', 1708.02002; 'VarifocalNet').
    cls = F.binary_cross_entropy_with_logits(scores[..., 0], quality, reduction="none")
    cls = cls * torch.where(positive > 0, weights, 0.75 * raw[..., 0].detach().sigmoid()) * counted
    obj = F.binary_cross_entropy_with_logits(scores[..., 1], positive, reduction="none")
    obj = obj * torch.where(positive > 0, weights, 0.75 * raw[..., 1].detach().sigmoid()) * counted
    parts = {
        "cls": cls.sum() / count,
        "obj": obj.sum() / count,
        **dict.fromkeys(("box", "kps", "rank", "doubt"), raw.sum() * 0),
    }
    found = finds(boxes.detach(), faces, owner)
    if teacher_logits is not None:
        lower = hp.teacher_margin * by_picture(found[~uncovered], owner[~uncovered], len(raw))
        teacher_logits = teacher_logits - lower[..., None]
        # Not on doubtful faces: teachers score them as high as labelled ones.
        parts["distillation"] = hp.distillation_weight * distillation_loss(
            raw[..., :2][~doubtful_cells], teacher_logits[~doubtful_cells], count
        )
    if len(b):
        negatives = ~ignored_cells & ~by_picture(found, owner, len(raw)) & (positive == 0)
        # Doubtful faces score highest: were they the only negatives here, backs of heads and hands would not be pushed
        # down. And each is one false positive, however many cells predict it.
        score, worst = scores.mean(-1), hp.rank_negatives * len(raw)
        tops = best(score, (b, cell), face, len(faces))
        ranks = [
            partial_auc_loss(highest(score, some, worst), tops, weight, hp.rank_width)
            for some in (negatives, negatives & ~doubtful_cells)
        ]
        parts["rank"] = hp.rank_weight * (ranks[0] + ranks[1]) / 2
        pictures = ignored_owner[doubtful]
        seen = score[pictures].masked_fill(~(hit[doubtful] & negatives[pictures]), -torch.inf).amax(1)
        parts["doubt"] = hp.doubt_weight * partial_auc_loss(seen[seen.isfinite()], tops, weight, hp.rank_width)
        parts["box"] = hp.box_weight * complete_box_iou_loss(boxes[b, cell], faces[face], "sum") / count
        known = landmarks[face].isfinite().all(-1).all(-1)
        if known.any():
            side = (faces[face][known][:, 2:] - faces[face][known][:, :2]).mean(1)[:, None, None]
            off = (points[b, cell][known] - landmarks[face][known]) / side
            gap = F.smooth_l1_loss(off, torch.zeros_like(off), beta=0.05, reduction="sum")
            parts["kps"] = hp.landmark_weight * gap / 10 / count
    return parts

"""Geometric augmentation, scenes to training windows: random scale and crop, mosaic, letterbox, flip, rotation.

Synthetic masks and backs of heads are drawn here too, see `paint`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from export.common.engines import Array
from export.detector.data import DOUBTFUL, FACE, IGNORE, UNCOVERED
from export.detector.evaluate import at_long_side
from export.detector.hyperparameters import DEFAULTS, Hyperparameters
from export.detector.paint import Image, draw_back_of_head, draw_mask
from export.detector.scene import Scene

SMALLEST = 6.0  # faces under this many pixels in the crop are ignored: half a cell of the finest map
# A truncated face with a smaller visible share is doubtful, as annotators seldom label those; one that still takes more
# than LARGE of the window is ignored, or faces that fill the frame would be trained as doubtful.
VISIBLE, LARGE = 0.5, 0.3
MIRRORED = [1, 0, 2, 4, 3]  # order of the landmarks after a horizontal flip


@dataclass(slots=True)
class Sample:
    """image: uint8 (S, S, 3) BGR; boxes (n, 4) xyxy; kinds (n,); landmarks (n, 5, 2), NaN where unknown."""

    image: Image
    boxes: Array
    kinds: npt.NDArray[np.int64]
    landmarks: Array


def random_crop(
    scene: Scene, size: int, rng: np.random.Generator, goal: Array | None = None, hp: Hyperparameters = DEFAULTS
) -> Sample:
    """Random resized crop: a (size, size) window of a scene; `goal`, a box xyxy, is inside it.

    Half of the time, and always with a goal, the picture is scaled to a long side from the window's to 720 pixels, as
    the runtime scales it to 320 and 640, and cropped at random; otherwise one face is chosen and scaled to a size drawn
    log-uniformly from 8 pixels, or in windows over 320 px at times from half of the window, to most of it.
    """
    image = scene.image()
    height, width = image.shape[:2]
    landmarks, boxes, kinds = scene.landmarks, scene.boxes, scene.kinds
    bare = scene.bare & (kinds > IGNORE) & np.isfinite(landmarks).all((1, 2)) & (np.ptp(boxes[:, ::2], axis=1) > 12)
    chance = np.where(bare, rng.random(len(boxes)), 1.0)
    changed = np.flatnonzero(chance < hp.synthetic_masks + hp.backs_of_heads)
    if len(changed):
        image, kinds = image.copy(), kinds.copy()
    kept = np.ones(len(boxes), bool)
    for i in changed:
        if chance[i] >= hp.synthetic_masks:
            kept[i] = not draw_back_of_head(image, landmarks[i], rng)
        else:
            under = bool(rng.random() < hp.masks_under_nose)
            draw_mask(image, landmarks[i], rng, under)
            kinds[i] = UNCOVERED if under else FACE
    landmarks, boxes, kinds = landmarks[kept], boxes[kept], kinds[kept]
    faces = np.flatnonzero(kinds > IGNORE)
    fitting = size / max(height, width)  # the scale at which the whole picture fits
    focus = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    if goal is not None or len(faces) == 0 or rng.random() < 0.5:
        side = np.exp(rng.uniform(np.log(0.7 * size), np.log(max(size, 720))))
        scale = side / max(height, width)
        # A random position; the window stays inside the picture where it fits.
        room = np.maximum(0, np.array([width, height]) - size / scale) / 2
        focus = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * room + rng.normal(0, 0.03, 2) * size / scale
        if goal is not None:
            reach = np.maximum(0, size / scale - (goal[2:] - goal[:2])) / 2
            focus = np.clip(focus, (goal[:2] + goal[2:]) / 2 - reach, (goal[:2] + goal[2:]) / 2 + reach)
    else:
        # Small windows have faces of all sizes; most larger ones have faces that fill them.
        filling = size > 320 and rng.random() < 0.7
        sides = (boxes[faces, 2:] - boxes[faces, :2]).max(1)
        one = int(sides.argmax() if filling else rng.integers(len(faces)))
        box, side = boxes[faces[one]], max(1.0, float(sides[one]))
        low, high = (0.45, 0.95) if filling else (8 / size, 0.9)
        target = size * np.exp(rng.uniform(np.log(low), np.log(high)))
        # Never so small that most of the window is empty; mosaics bring the smallest faces.
        scale = float(np.clip(target / side, 0.7 * fitting, 10.0 if filling else 3.0))
        focus = (box[:2] + box[2:]) / 2 + rng.uniform(-0.4, 0.4, 2) * size / scale * (1 - min(0.95, target / size))
    angle = rng.normal(0, 15) if rng.random() < 0.35 else 0.0
    flip = rng.random() < 0.5
    cos, sin = np.cos(np.deg2rad(angle)) * scale, np.sin(np.deg2rad(angle)) * scale
    linear = np.array([[-cos, sin], [sin, cos]]) if flip else np.array([[cos, -sin], [sin, cos]])
    stretch = np.exp(rng.normal(0, hp.stretch) * np.array([1, -1]))
    linear = stretch[:, None] * linear
    affine = np.c_[linear, size / 2 - linear @ focus].astype(np.float32)
    if scale < 0.5:  # area averaging first, against aliasing
        k = 2.0 * scale
        small = (max(1, round(width * k)), max(1, round(height * k)))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        fit = affine @ np.array([[width / image.shape[1], 0, 0], [0, height / image.shape[0], 0], [0, 0, 1]])
    else:
        fit = affine
    border = int(rng.integers(0, 256)) if rng.random() < 0.5 else 0
    canvas = cv2.warpAffine(image, fit, (size, size), flags=cv2.INTER_LINEAR, borderValue=(border, border, border))
    # A small rotation moves a box's centre; its size is kept.
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * scale * stretch
    centre = centre @ affine[:, :2].T + affine[:, 2]
    points = landmarks @ affine[:, :2].T + affine[:, 2]
    if flip:
        points = points[:, MIRRORED]
    return clip_boxes(
        Sample(
            np.asarray(canvas, np.uint8),
            np.c_[centre - half, centre + half].astype(np.float32),
            kinds,
            points.astype(np.float32),
        )
    )


def letterbox(scene: Scene, size: int, rng: np.random.Generator) -> Sample:
    """A whole picture scaled to the long side of a (size, size) window, or half of the time a little less, padded, with
    a random flip and position."""
    image, scale = at_long_side(scene.image(), round(size * min(1.0, rng.uniform(0.85, 1.15))))
    height, width = image.shape[:2]
    boxes, landmarks = scene.boxes * scale, scene.landmarks * scale
    if rng.random() < 0.5:
        image = image[:, ::-1]
        boxes = np.c_[width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]]
        landmarks = np.dstack([width - landmarks[..., 0], landmarks[..., 1]])[:, MIRRORED]
    x, y = int(rng.integers(0, size - width + 1)), int(rng.integers(0, size - height + 1))
    canvas, shift = np.zeros((size, size, 3), np.uint8), np.array([x, y], np.float32)
    canvas[y : y + height, x : x + width] = image
    return clip_boxes(Sample(canvas, boxes + np.tile(shift, 2), scene.kinds, landmarks + shift))


def clip_boxes(sample: Sample) -> Sample:
    """Clip boxes to the window; drop those outside, make mostly truncated ones doubtful, ignore tiny ones."""
    size = sample.image.shape[0]
    cut = np.clip(sample.boxes, 0, size)
    sides = cut[:, 2:] - cut[:, :2]
    full = np.maximum((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1), 1e-6)
    inside = (sides > 1).all(1)
    kinds = relabel_truncated(sample.kinds, sides.prod(1) / full, sides.max(1) / size)
    kinds = np.where(sides.max(1) < SMALLEST, IGNORE, kinds)
    return Sample(sample.image, cut[inside], kinds[inside], sample.landmarks[inside])


def relabel_truncated(kinds: npt.NDArray[np.int64], visible: Array, share: Array) -> npt.NDArray[np.int64]:
    """The kinds of boxes after truncation. visible: remaining share of each box; share: of the window's side; (n,)."""
    cut = (visible < VISIBLE) & (kinds > IGNORE)
    return np.where(cut, np.where(share > LARGE, IGNORE, DOUBTFUL), kinds)


def mosaic(scenes: list[Scene], size: int, rng: np.random.Generator, hp: Hyperparameters = DEFAULTS) -> Sample:
    """Mosaic augmentation, four scenes in one window ('YOLOv4', 2004.10934)."""
    x, y = (int(v) for v in rng.uniform(0.35, 0.65, 2) * size)
    canvas = np.zeros((size, size, 3), np.uint8)
    parts = []
    for scene, (x0, y0, x1, y1) in zip(
        scenes, [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)], strict=True
    ):
        tile = random_crop(scene, max(x1 - x0, y1 - y0), rng, hp=hp)
        canvas[y0:y1, x0:x1] = tile.image[: y1 - y0, : x1 - x0]
        shift = np.array([x0, y0], np.float32)
        cut = np.minimum(tile.boxes, np.array([x1 - x0, y1 - y0] * 2, np.float32))
        sides, full = cut[:, 2:] - cut[:, :2], (tile.boxes[:, 2:] - tile.boxes[:, :2]).prod(1)
        seen = sides.clip(0).prod(1) / np.maximum(full, 1e-6)
        kinds = relabel_truncated(tile.kinds, seen, sides.max(1, initial=0) / size)
        keep = (sides > 1).all(1)
        parts.append((np.c_[cut[:, :2] + shift, cut[:, 2:] + shift][keep], kinds[keep], (tile.landmarks + shift)[keep]))
    boxes, kinds, points = (np.concatenate(v) for v in zip(*parts, strict=True))
    return Sample(canvas, boxes.astype(np.float32), kinds, points.astype(np.float32))

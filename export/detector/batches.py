"""From windows to training batches: sampling of scenes, and copy-paste between them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from export.common.engines import Array, iou
from export.detector.augment import MIRRORED, Sample, letterbox, mosaic, random_crop
from export.detector.data import DOUBTFUL, FACE, UNCOVERED
from export.detector.hyperparameters import DEFAULTS, Hyperparameters
from export.detector.paint import blend_patch, degrade
from export.detector.scene import Scene

KINDS_PASTED = (FACE, UNCOVERED, DOUBTFUL)


@dataclass(frozen=True, slots=True)
class Spot:
    """A region of a scene for copy-paste. box: float32 (4,) xyxy pixels. kind: of its face; None: a hard negative.
    landmarks: (5, 2) pixels, NaN where unknown. badly: it is masked incorrectly, nose or mouth show."""

    scene: Scene
    box: Array
    kind: int | None = None
    landmarks: Array = field(default_factory=lambda: np.full((5, 2), np.nan, np.float32))
    badly: bool = False


def spots(scene: Scene) -> tuple[list[Spot], list[Spot]]:
    """The regions of a scene for copy-paste: its hard negatives (false positives of an earlier net), and the isolated
    faces of pictures labelled by hand, doubtful ones included."""
    empty = [Spot(scene, goal) for goal in scene.hard if not len(scene.boxes) or not iou(goal[None], scene.boxes).any()]
    faces = []
    if scene.by_hand:
        alone = (iou(scene.boxes, scene.boxes) > 0).sum(1) == 1
        large = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(1) >= 16
        for i in np.flatnonzero(alone & large & np.isin(scene.kinds, KINDS_PASTED)):
            badly = bool(scene.kinds[i] == UNCOVERED and not scene.bare[i])
            faces.append(Spot(scene, scene.boxes[i], int(scene.kinds[i]), scene.landmarks[i], badly))
    return empty, faces


def paste(sample: Sample, spot: Spot, rng: np.random.Generator) -> None:
    """Copy-paste augmentation in place ('Simple Copy-Paste', 2012.07177): the region with a margin, rotated, with other
    brightness, at 12 pixels to a third of the window, where no box is. Without it a net memorises single pictures."""
    size, sides = sample.image.shape[0], spot.box[2:] - spot.box[:2]
    zoom = min(3.0, float(np.exp(rng.uniform(np.log(12), np.log(size / 3)))) / float(sides.max()))
    half = sides / 2 * zoom
    centre = rng.uniform(half, size - half)  # not truncated by the window
    near = np.hstack([centre - 1.5 * half, centre + 1.5 * half])
    free = np.minimum(near[2:], sample.boxes[:, 2:]) - np.maximum(near[:2], sample.boxes[:, :2])
    x0, y0 = np.maximum(near[:2], 0).astype(int)
    x1, y1 = np.minimum(near[2:] + 1, size).astype(int)
    if (free > 0).all(1).any() or x1 - x0 < 8 or y1 - y0 < 8:
        return
    # Faces are upright; a negative may have any rotation.
    turn = rng.uniform(-np.pi, np.pi) if spot.kind is None and rng.random() < 0.2 else rng.normal(0, 0.2)
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    flip = rng.random() < 0.5
    linear = np.array([[cos, -sin], [sin, cos]]) * [-1 if flip else 1, 1]
    middle = (spot.box[:2] + spot.box[2:]) / 2
    view = np.c_[linear, centre - [x0, y0] - linear @ middle]
    patch = cv2.warpAffine(spot.scene.image(), view, (int(x1 - x0), int(y1 - y0)), borderMode=cv2.BORDER_REFLECT)
    tone = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    patch = np.clip(patch * tone, 0, 255)
    blend_patch(patch, sample.image[y0:y1, x0:x1], centre - [x0, y0], 2.7 * half, turn, 0.075 * half.max())
    if spot.kind is not None:
        points = ((spot.landmarks - middle) @ linear.T + centre).astype(np.float32)
        sample.boxes = np.vstack([sample.boxes, np.r_[centre - half, centre + half]]).astype(np.float32)
        sample.kinds = np.append(sample.kinds, spot.kind)
        sample.landmarks = np.concatenate([sample.landmarks, (points[MIRRORED] if flip else points)[None]])


class Batches(IterableDataset[list[Sample]]):
    """An endless iterable of batches for `torch.utils.data.DataLoader` (batch_size=None).

    sets: (weight, scenes) pairs.
    """

    def __init__(self, sets: list[tuple[float, list[Scene]]], seed: int, hp: Hyperparameters = DEFAULTS) -> None:
        self.sets, self.seed, self.hp = sets, seed, hp
        self.weights = np.array([w for w, _ in sets]) / sum(w for w, _ in sets)
        self.hard = [(scene, goal) for _, scenes in sets for scene in scenes for goal in scene.hard]
        self.by_hand = [scene for _, scenes in sets for scene in scenes if scene.by_hand]
        found = [spots(scene) for _, scenes in sets for scene in scenes]
        self.empty, faces = ([spot for part in parts for spot in part] for parts in zip(*found, strict=True))
        groups: dict[tuple[int | None, bool], list[Spot]] = {}
        for spot in faces:
            groups.setdefault((spot.kind, spot.badly), []).append(spot)
        self.faces = list(groups.values())

    def __iter__(self) -> Iterator[list[Sample]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id] if worker else self.seed)  # each worker has its own stream
        while True:
            # Multi-scale training: mostly 320, the size boards use; larger windows have faces of up to 608 pixels, and
            # whole pictures as the runtime scales them to 640.
            size = int(rng.choice([320, 480, 640], p=[0.68, 0.08, 0.24]))
            yield [self.sample(size, rng) for _ in range(max(1, round(self.hp.batch * (320 / size) ** 2)))]

    def scene(self, rng: np.random.Generator) -> Scene:
        scenes = self.sets[rng.choice(len(self.sets), p=self.weights)][1]
        return scenes[rng.integers(len(scenes))]

    def sample(self, size: int, rng: np.random.Generator) -> Sample:
        hp = self.hp
        if self.by_hand and rng.random() < (hp.whole_pictures if size == 320 else hp.whole_pictures_large):
            made = letterbox(self.by_hand[rng.integers(len(self.by_hand))], size, rng)
            if rng.random() < 0.5:
                made.image = degrade(made.image, rng)
            return made
        if rng.random() < hp.mosaics:
            made = mosaic([self.scene(rng) for _ in range(4)], size, rng, hp)
        elif self.hard and rng.random() < hp.hard_examples:
            scene, goal = self.hard[rng.integers(len(self.hard))]
            made = random_crop(scene, size, rng, goal, hp)
        else:
            made = random_crop(self.scene(rng), size, rng, hp=hp)
        for groups, share in ((self.faces, hp.pasted_faces), ([self.empty], hp.pasted_negatives)):
            if any(groups) and rng.random() < share:
                for _ in range(rng.integers(1, 4)):
                    some = groups[rng.integers(len(groups))]
                    paste(made, some[rng.integers(len(some))], rng)
        made.image = degrade(made.image, rng)
        return made

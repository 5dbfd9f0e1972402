"""From scenes to a training batch: scale jitter, crop, drawn masks, mosaic, and the wear of real cameras."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from torch.utils.data import IterableDataset

from export.detector_data import FACE, IGNORE, UNCOVERED, Scene
from export.engines import Array, iou

Image = npt.NDArray[np.uint8]
SMALLEST = 6.0  # faces under this many pixels in the crop are ignored: half a cell of the finest map
MOSAICS = 0.35  # share of the windows that are mosaics
HARD = 0.15  # share of the others that show a place where an earlier net erred
PASTED = 0.3  # share of the windows with up to three such places that hold no face pasted in
DRAWN = 0.3  # share of the bare faces that get a mask
TURNED = 0.08  # ... and that become the back of a head
UNDER = 0.25  # share of the masks drawn that hang under the nose
STRETCH = 0.06  # standard deviation of the log by which pictures get wider, and as much lower
VISIBLE = 0.4  # a face of which less is left by the crop is ignored


@dataclass(slots=True)
class Sample:
    """image: uint8 (S, S, 3) BGR; boxes (n, 4) xyxy; kinds (n,); landmarks (n, 5, 2), NaN where unknown."""

    image: Image
    boxes: Array
    kinds: npt.NDArray[np.int64]
    landmarks: Array


def draw_mask(image: Image, points: Array, rng: np.random.Generator, under: bool = False) -> None:
    """Draw a mask over a bare face in place: cloth from the nose bridge to below the chin, any colour or pattern.

    points: (5, 2) right eye, left eye, nose tip, right and left mouth corner, in pixels. under: the mask begins under
    the nose, as when worn badly.
    """
    eyes, nose, mouth = (points[0] + points[1]) / 2, points[2], (points[3] + points[4]) / 2
    down = mouth - eyes
    across = points[1] - points[0] if np.hypot(*(points[1] - points[0])) > 1 else np.array([-down[1], down[0]])
    top = eyes + down * (rng.uniform(0.7, 0.95) if under else rng.uniform(0.25, 0.5))
    bridge = top + (nose - eyes) * 0.15
    wide = rng.uniform(0.75, 1.05)

    def j() -> float:
        return float(rng.uniform(0.94, 1.06))

    outline = [
        bridge,
        top + across * wide * 0.75 * j() + down * 0.15,
        mouth + across * wide * 0.8 * j(),
        mouth + across * wide * 0.45 * j() + down * 0.55,
        mouth + down * rng.uniform(0.6, 0.8),
        mouth - across * wide * 0.45 * j() + down * 0.55,
        mouth - across * wide * 0.8 * j(),
        top - across * wide * 0.75 * j() + down * 0.15,
    ]
    polygon = np.round(np.array(outline)).astype(np.int32)
    x0, y0 = np.maximum(polygon.min(0) - 2, 0)
    x1, y1 = np.minimum(polygon.max(0) + 3, image.shape[1::-1])
    if x1 - x0 < 4 or y1 - y0 < 4:
        return
    region = image[y0:y1, x0:x1]
    cloth = np.empty_like(region)
    pale = rng.random() < 0.5
    base = rng.uniform(170, 255, 3) if pale else rng.uniform(0, 255, 3)
    if rng.random() < 0.4:  # the usual surgical blue-green
        base = np.array([rng.uniform(160, 240), rng.uniform(140, 220), rng.uniform(60, 170)])
    cloth[:] = base
    pattern = rng.random()
    if pattern < 0.25:  # pleats or stripes
        step = max(2, int((y1 - y0) * rng.uniform(0.08, 0.25)))
        cloth[::step] = np.clip(base * rng.uniform(0.4, 0.9), 0, 255)
    elif pattern < 0.4:  # print
        spots = cv2.resize(
            rng.integers(0, 255, (4, 5, 3), np.uint8),
            (int(x1 - x0), int(y1 - y0)),
            interpolation=int(rng.integers(0, 3)),
        )
        cloth = np.asarray(cv2.addWeighted(cloth, 0.5, spots, 0.5, 0), np.uint8)
    shade = np.linspace(rng.uniform(0.7, 1.1), rng.uniform(0.6, 1.0), y1 - y0, dtype=np.float32)[:, None, None]
    grey = cv2.cvtColor(region, cv2.COLOR_BGR2GRAY).astype(np.float32)[..., None] / max(1.0, float(region.mean()))
    lit = np.clip(cloth * shade * np.clip(0.75 + 0.25 * grey, 0.5, 1.3), 0, 255)
    cover = np.zeros(region.shape[:2], np.float32)
    cv2.fillPoly(cover, [polygon - [x0, y0]], (1.0,), cv2.LINE_AA)
    alpha = np.asarray(cv2.GaussianBlur(cover, (3, 3), 0) if min(cover.shape) > 12 else cover)[..., None]
    image[y0:y1, x0:x1] = (region * (1 - alpha) + lit * alpha).astype(np.uint8)


def lay(
    patch: npt.NDArray[Any], region: Image, centre: npt.NDArray[Any], axes: npt.NDArray[Any], turn: float, soft: float
) -> None:
    """Lay an oval of a patch over a region of its size, in place; its edge is blurred by `soft` pixels.

    centre, axes (both whole): pixels of the region; turn: radians, clockwise as pictures show it.
    """
    oval = np.zeros(patch.shape[:2], np.float32)
    cv2.ellipse(oval, (centre.tolist(), axes.tolist(), float(np.degrees(turn))), 1, -1)
    alpha = cv2.GaussianBlur(oval, (0, 0), max(0.5, float(soft)))[..., None]
    region[:] = (region * (1 - alpha) + patch * alpha).astype(np.uint8)


def turn_away(image: Image, points: Array, rng: np.random.Generator) -> bool:
    """Comb the hair above a bare face down over all of it, in place: the back of a head, on shoulders, which the sets
    hardly hold and a net takes for a face. False where the picture ends below the hair, and nothing is done.

    points: as for `draw_mask`.
    """
    eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    down = mouth - eyes
    long = float(np.hypot(*down))
    across = np.array([down[1], -down[0]])
    hair, middle = eyes - down * rng.uniform(1.25, 1.6), eyes + down * 0.35
    corners = np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)])
    strip = hair + corners[:, :1] * across * 0.6 + corners[:, 1:] * down * 0.3
    cover = middle + corners[:, :1] * across * 1.3 + corners[:, 1:] * down * 1.8
    height, width = image.shape[:2]
    if long < 4 or (strip < 0).any() or (strip >= [width, height]).any():
        return False
    reach = 2.5 * long
    x0, y0 = np.maximum(middle - reach, 0).astype(int)
    x1, y1 = np.minimum(middle + reach + 1, [width, height]).astype(int)
    comb = cv2.getAffineTransform(strip[:3].astype(np.float32), (cover[:3] - [x0, y0]).astype(np.float32))
    combed = cv2.warpAffine(image, comb, (int(x1 - x0), int(y1 - y0)), borderMode=cv2.BORDER_REFLECT)
    axes = np.array([2.5, 3.5]) * long * rng.uniform(0.9, 1.1, 2)
    lay(combed, image[y0:y1, x0:x1], middle - [x0, y0], axes, np.arctan2(down[1], down[0]) - np.pi / 2, 0.12 * long)
    return True


def wear(image: Image, rng: np.random.Generator) -> Image:
    """Light, colour, blur, noise and compression as cameras give them."""
    tone: Array = np.arange(256, dtype=np.float32)[:, None].repeat(3, 1)  # one curve a channel, applied as a table
    if rng.random() < 0.7:
        tone = tone * rng.uniform(0.5, 1.4) + rng.uniform(-25, 25)
    if rng.random() < 0.4:
        tone *= rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.1:
        tone = np.asarray(255 * (np.clip(tone, 0, 255) / 255) ** rng.uniform(0.6, 2.2))
    out = cv2.LUT(image, np.clip(tone, 0, 255).astype(np.uint8)[None])
    if rng.random() < 0.15:
        noise = cv2.randn(np.empty(out.shape, np.int16), 0, rng.uniform(2, 12))  # type: ignore[call-overload]
        out = cv2.add(out, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.08:
        out = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.12:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 1.6))
    if rng.random() < 0.15:
        jpeg = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))])[1]
        out = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    return np.asarray(out, np.uint8)


def place(scene: Scene, size: int, rng: np.random.Generator, goal: Array | None = None) -> Sample:
    """Cut a (size, size) window out of a scene at a random scale; `goal`, a box xyxy, shall be in it.

    Half of the time, and always with a goal, the picture has a long side of the window's to 720 pixels, as the runtime
    shows it at 320 and at 640, and the window is a part of it; otherwise one face is chosen and brought to a size drawn
    evenly in log scale from 8 pixels, or in windows over 320 px at times from half of the window, to most of it.
    """
    image = scene.image()
    height, width = image.shape[:2]
    landmarks, boxes, kinds = scene.landmarks, scene.boxes, scene.kinds
    bare = scene.bare & (kinds > IGNORE) & np.isfinite(landmarks).all((1, 2)) & (np.ptp(boxes[:, ::2], axis=1) > 12)
    chance = np.where(bare, rng.random(len(boxes)), 1.0)
    changed = np.flatnonzero(chance < DRAWN + TURNED)
    if len(changed):
        image, kinds = image.copy(), kinds.copy()
    kept = np.ones(len(boxes), bool)
    for i in changed:
        if chance[i] >= DRAWN:
            kept[i] = not turn_away(image, landmarks[i], rng)
        else:
            under = bool(rng.random() < UNDER)
            draw_mask(image, landmarks[i], rng, under)
            kinds[i] = UNCOVERED if under else FACE
    landmarks, boxes, kinds = landmarks[kept], boxes[kept], kinds[kept]
    faces = np.flatnonzero(kinds > IGNORE)
    whole = size / max(height, width)
    focus = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    if goal is not None or len(faces) == 0 or rng.random() < 0.5:
        side = np.exp(rng.uniform(np.log(0.7 * size), np.log(max(size, 720))))
        scale = side / max(height, width)
        # Anywhere in the picture, as long as the window stays inside it where it can.
        room = np.maximum(0, np.array([width, height]) - size / scale) / 2
        focus = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * room + rng.normal(0, 0.03, 2) * size / scale
        if goal is not None:
            reach = np.maximum(0, size / scale - (goal[2:] - goal[:2])) / 2
            focus = np.clip(focus, (goal[:2] + goal[2:]) / 2 - reach, (goal[:2] + goal[2:]) / 2 + reach)
    else:
        # Small windows show every size; half of the larger ones are there for the faces that fill them.
        filling = size > 320 and rng.random() < 0.5
        sides = (boxes[faces, 2:] - boxes[faces, :2]).max(1)
        one = int(sides.argmax() if filling else rng.integers(len(faces)))
        box, side = boxes[faces[one]], max(1.0, float(sides[one]))
        low, high = (0.45, 0.95) if filling else (8 / size, 0.9)
        target = size * np.exp(rng.uniform(np.log(low), np.log(high)))
        # Never so small that most of the window is empty; mosaics bring the smallest faces.
        scale = float(np.clip(target / side, 0.7 * whole, 10.0 if filling else 3.0))
        focus = (box[:2] + box[2:]) / 2 + rng.uniform(-0.4, 0.4, 2) * size / scale * (1 - min(0.95, target / size))
    angle = rng.normal(0, 15) if rng.random() < 0.35 else 0.0
    flip = rng.random() < 0.5
    cos, sin = np.cos(np.deg2rad(angle)) * scale, np.sin(np.deg2rad(angle)) * scale
    linear = np.array([[-cos, sin], [sin, cos]]) if flip else np.array([[cos, -sin], [sin, cos]])
    stretch = np.exp(rng.normal(0, STRETCH) * np.array([1, -1]))
    linear = stretch[:, None] * linear
    affine = np.c_[linear, size / 2 - linear @ focus].astype(np.float32)
    if scale < 0.5:  # area averaging first, else shrinking aliases in a way no camera does
        k = 2.0 * scale
        small = (max(1, round(width * k)), max(1, round(height * k)))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        fit = affine @ np.array([[width / image.shape[1], 0, 0], [0, height / image.shape[0], 0], [0, 0, 1]])
    else:
        fit = affine
    border = int(rng.integers(0, 256)) if rng.random() < 0.5 else 0
    canvas = cv2.warpAffine(image, fit, (size, size), flags=cv2.INTER_LINEAR, borderValue=(border, border, border))
    # A box keeps its size through a small turn; only its centre moves.
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * scale * stretch
    centre = centre @ affine[:, :2].T + affine[:, 2]
    points = landmarks @ affine[:, :2].T + affine[:, 2]
    if flip:
        points = points[:, [1, 0, 2, 4, 3]]  # left and right change places
    return clip(
        Sample(
            np.asarray(canvas, np.uint8),
            np.c_[centre - half, centre + half].astype(np.float32),
            kinds,
            points.astype(np.float32),
        )
    )


def clip(sample: Sample) -> Sample:
    """Cut boxes at the window's edge; drop what is outside, ignore what is mostly outside or tiny."""
    size = sample.image.shape[0]
    cut = np.clip(sample.boxes, 0, size)
    sides = cut[:, 2:] - cut[:, :2]
    full = np.maximum((sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1), 1e-6)
    inside = (sides > 1).all(1)
    poor = (sides.prod(1) / full < VISIBLE) | (sides.max(1) < SMALLEST)
    kinds = np.where(poor, IGNORE, sample.kinds)
    return Sample(sample.image, cut[inside], kinds[inside], sample.landmarks[inside])


def mosaic(scenes: list[Scene], size: int, rng: np.random.Generator) -> Sample:
    """Four scenes in one window: more faces and more scales a sample, and edges where no background is."""
    x, y = (int(v) for v in rng.uniform(0.35, 0.65, 2) * size)
    canvas = np.zeros((size, size, 3), np.uint8)
    parts = []
    for scene, (x0, y0, x1, y1) in zip(
        scenes, [(0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size)], strict=True
    ):
        tile = place(scene, max(x1 - x0, y1 - y0), rng)
        canvas[y0:y1, x0:x1] = tile.image[: y1 - y0, : x1 - x0]
        shift = np.array([x0, y0], np.float32)
        cut = np.minimum(tile.boxes, np.array([x1 - x0, y1 - y0] * 2, np.float32))
        seen = (cut[:, 2:] - cut[:, :2]).clip(0).prod(1) / np.maximum(
            (tile.boxes[:, 2:] - tile.boxes[:, :2]).prod(1), 1e-6
        )
        kinds = np.where(seen < VISIBLE, IGNORE, tile.kinds)
        keep = (cut[:, 2:] - cut[:, :2] > 1).all(1)
        parts.append((np.c_[cut[:, :2] + shift, cut[:, 2:] + shift][keep], kinds[keep], (tile.landmarks + shift)[keep]))
    boxes, kinds, points = (np.concatenate(v) for v in zip(*parts, strict=True))
    return Sample(canvas, boxes.astype(np.float32), kinds, points.astype(np.float32))


def paste(sample: Sample, scene: Scene, spot: Array, rng: np.random.Generator) -> None:
    """Paste a place of a scene, a box xyxy that holds no face, with a little around it into a sample, in place: turned,
    lit otherwise, at any size from 12 pixels to a third of the window, where nothing is marked ('Simple Copy-Paste',
    2012.07177). A net that knows the one fist of a picture takes the next for a face; this shows each everywhere."""
    size, sides = sample.image.shape[0], spot[2:] - spot[:2]
    zoom = min(3.0, float(np.exp(rng.uniform(np.log(12), np.log(size / 3)))) / float(sides.max()))
    centre, half = rng.uniform(0, size, 2), 0.75 * sides * zoom
    near = np.hstack([centre - half, centre + half])
    free = np.minimum(near[2:], sample.boxes[:, 2:]) - np.maximum(near[:2], sample.boxes[:, :2])
    x0, y0 = np.maximum(near[:2], 0).astype(int)
    x1, y1 = np.minimum(near[2:] + 1, size).astype(int)
    if (free > 0).all(1).any() or x1 - x0 < 8 or y1 - y0 < 8:
        return
    turn = rng.normal(0, 0.35) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)  # as heads, or as hands
    cos, sin = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) * [rng.choice([-1, 1]), 1]
    view = np.c_[linear, centre - [x0, y0] - linear @ ((spot[:2] + spot[2:]) / 2)]
    patch = cv2.warpAffine(scene.image(), view, (int(x1 - x0), int(y1 - y0)), borderMode=cv2.BORDER_REFLECT)
    tone = rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)
    patch = np.clip(patch * tone, 0, 255)
    lay(patch, sample.image[y0:y1, x0:x1], centre - [x0, y0], 1.8 * half, turn, 0.05 * half.max())


class Batches(IterableDataset[list[Sample]]):
    """An endless iterable of batches for `torch.utils.data.DataLoader` (batch_size=None).

    sets: (weight, scenes) pairs. batch: windows of 320 px; of larger ones as many as have the same area.
    mosaics: share of the windows that are mosaics.
    """

    def __init__(self, sets: list[tuple[float, list[Scene]]], batch: int, seed: int, mosaics: float = MOSAICS) -> None:
        self.sets, self.batch, self.seed, self.mosaics = sets, batch, seed, mosaics
        self.weights = np.array([w for w, _ in sets]) / sum(w for w, _ in sets)
        self.hard = [(scene, goal) for _, scenes in sets for scene in scenes for goal in scene.hard]
        self.nothing = [(s, goal) for s, goal in self.hard if not len(s.boxes) or not iou(goal[None], s.boxes).any()]

    def __iter__(self) -> Iterator[list[Sample]]:
        rng = np.random.default_rng(self.seed)
        while True:
            # Mostly 320, the size boards use; the larger ones show faces of up to 608 pixels, and whole pictures as the
            # runtime sees them at 640.
            size = int(rng.choice([320, 480, 640], p=[0.68, 0.08, 0.24]))
            yield [self.sample(size, rng) for _ in range(max(1, round(self.batch * (320 / size) ** 2)))]

    def scene(self, rng: np.random.Generator) -> Scene:
        scenes = self.sets[rng.choice(len(self.sets), p=self.weights)][1]
        return scenes[rng.integers(len(scenes))]

    def sample(self, size: int, rng: np.random.Generator) -> Sample:
        if rng.random() < self.mosaics:
            made = mosaic([self.scene(rng) for _ in range(4)], size, rng)
        elif self.hard and rng.random() < HARD:
            scene, goal = self.hard[rng.integers(len(self.hard))]
            made = place(scene, size, rng, goal)
        else:
            made = place(self.scene(rng), size, rng)
        if self.nothing and rng.random() < PASTED:
            for _ in range(rng.integers(1, 4)):
                paste(made, *self.nothing[rng.integers(len(self.nothing))], rng)
        made.image = wear(made.image, rng)
        return made

"""Synthetic masks, of any colour and pattern, correct or incorrect, and other occluders, drawn on a face. All sizes are
relative to the five landmarks, or to the box where those are unknown.

Every function draws into `face.region` (uint8 BGR) in place.
"""

import cv2
import numpy as np
import numpy.typing as npt

from export.classifier.data import Face, Image
from export.common.engines import Array

SURGICAL = [(225, 205, 150), (235, 225, 190), (205, 190, 120), (240, 240, 240), (30, 30, 30), (150, 190, 130)]  # BGR


class Frame:
    """The face's own axes: `at(x, y)` is the pixel x inter-eye widths right of the eyes' middle and y eye-to-mouth
    lengths below it. The nose's tip lies near y = 0.6, the mouth at 1, the chin near 1.55. `yaw`: where the nose
    points, -0.5 left to 0.5 right.
    """

    def __init__(self, face: Face) -> None:
        points = face.points
        if not np.isfinite(points).all():
            low, size = face.box[:2], face.box[2:] - face.box[:2]
            points = low + size * np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.58], [0.35, 0.77], [0.65, 0.77]])
        eyes, mouth = points[:2].mean(0), points[3:].mean(0)
        self.origin = eyes
        self.down = mouth - eyes
        across = points[1] - points[0]
        length = float(np.linalg.norm(self.down)) + 1e-3
        # In profile the eyes are close together, the head keeps its size.
        self.unit = max(float(np.linalg.norm(across)), 0.8 * length)
        self.right = np.array([self.down[1], -self.down[0]]) / length * self.unit
        self.yaw = float(np.clip((points[2] - eyes) @ self.right / self.unit**2, -0.5, 0.5))

    def at(self, *xy: tuple[float, float]) -> Array:
        """(n, 2) float32 pixels."""
        pairs = np.array(xy, np.float32)
        return np.asarray(self.origin + pairs[:, :1] * self.right + pairs[:, 1:] * self.down, np.float32)

    def outline(self, top: float, chin: float, width: float) -> Array:
        """A mask's outline: upper edge at `top` in the middle, lower at `chin`; (n, 2) pixels."""
        left, right, middle = -width * (1.05 + 0.7 * self.yaw), width * (1.05 - 0.7 * self.yaw), self.yaw
        low = (top + chin) / 2
        return self.at(
            (middle, top),
            (middle + 0.4 * (right - middle), top + 0.12),
            (right, top + 0.25),
            (right * 0.92, low + 0.2),
            (middle + 0.5 * (right - middle), chin - 0.12),
            (middle, chin),
            (middle + 0.5 * (left - middle), chin - 0.12),
            (left * 0.92, low + 0.2),
            (left, top + 0.25),
            (middle + 0.4 * (left - middle), top + 0.12),
        )


def draw_mask(face: Face, donor: Face | None, rng: np.random.Generator) -> None:
    """A correct mask: it covers the nose, the mouth and the chin."""
    _cloth(face, donor, rng, rng.uniform(0.2, 0.5), rng.uniform(1.45, 1.85), rng.uniform(0.8, 1.15))


def draw_chin_mask(face: Face, donor: Face | None, rng: np.random.Generator) -> None:
    """An incorrect mask: the nose, or the nose and mouth, stay uncovered."""
    top = rng.uniform(0.78, 1.3)
    _cloth(face, donor, rng, top, max(top + 0.5, rng.uniform(1.5, 1.9)), rng.uniform(0.75, 1.1))


def draw_object(face: Face, rng: np.random.Generator, covers_mouth: bool) -> None:
    """An occluder that is no mask: a hand, a microphone or phone, a scarf below the mouth, sunglasses, a headband.

    covers_mouth: false where the class depends on a visible mask; then the lower face stays free.
    """
    frame = Frame(face)
    choice = rng.choice(
        ["hand", "hand", "stick", "slab", "scarf", "glasses", "headband"]
        if covers_mouth
        else ["stick", "slab", "glasses", "headband"]
    )
    if choice == "hand":
        _hand(face, frame, rng)
    elif choice in ("stick", "slab"):
        x, y = (rng.uniform(-0.7, 0.7), rng.uniform(0.7, 1.6)) if covers_mouth else (rng.choice([-1.3, 1.3]), 1.0)
        tip = frame.at((x, y))[0]
        width = frame.unit * (rng.uniform(0.12, 0.4) if choice == "stick" else rng.uniform(0.4, 0.7))
        direction = frame.at((x + rng.uniform(-1, 1), y + rng.uniform(0.6, 2)))[0] - tip
        direction *= frame.unit * rng.uniform(1, 3) / (np.linalg.norm(direction) + 1e-3)
        normal = np.array([-direction[1], direction[0]]) / (np.linalg.norm(direction) + 1e-3) * width / 2
        shape = np.stack([tip - normal, tip + normal, tip + direction + normal, tip + direction - normal])
        _paint(face.region, shape, _plain(face.region, rng, rng.integers(0, 255, 3)), rng, softness=0.8)
        if choice == "stick" and rng.random() < 0.6:  # the microphone's head
            circle = tip + width * 0.8 * np.stack([np.cos(a := np.linspace(0, 6.2, 14)), np.sin(a)], 1)
            _paint(face.region, circle, _plain(face.region, rng, rng.integers(0, 90, 3)), rng, softness=0.8)
    elif choice == "scarf":
        top = rng.uniform(1.2, 1.7)
        shape = frame.at((-1.6, top - rng.uniform(0, 0.4)), (0, top), (1.6, top - rng.uniform(0, 0.4)), (2, 3), (-2, 3))
        _paint(face.region, shape, _pattern(face.region, frame, rng), rng)
    elif choice == "glasses":
        half = rng.uniform(0.28, 0.45)
        for x in (-0.5, 0.5):
            shape = frame.at(*((x + half * np.cos(a), half * 0.8 * np.sin(a)) for a in np.linspace(0, 6.2, 12)))
            _paint(face.region, shape, _plain(face.region, rng, rng.integers(0, 80, 3)), rng, softness=0.7)
    else:
        low = rng.uniform(-0.9, -0.45)
        shape = frame.at((-1.3, low), (0, low - 0.1), (1.3, low), (1.2, low - 0.7), (0, low - 0.9), (-1.2, low - 0.7))
        _paint(face.region, shape, _pattern(face.region, frame, rng), rng)


def _hand(face: Face, frame: Frame, rng: np.random.Generator) -> None:
    """A palm with fingers before the mouth, in the face's own skin colour."""
    spots = frame.at((-0.45, 0.5), (0.45, 0.5), (0, -0.4)).round().astype(int)
    spots = spots.clip(0, np.array(face.region.shape[1::-1]) - 1)
    skin = np.median(face.region[spots[:, 1], spots[:, 0]], 0) * rng.uniform(0.75, 1.15)
    x, y, angle = rng.uniform(-0.5, 0.5), rng.uniform(0.75, 1.35), rng.uniform(-1.3, 1.3)
    layer = np.zeros(face.region.shape[:2], np.uint8)
    palm = frame.at((x, y))[0]
    unit = frame.unit
    cv2.ellipse(
        layer,
        _dot(palm),
        (max(1, int(unit * rng.uniform(0.3, 0.55))), max(1, int(unit * 0.4))),
        np.degrees(angle),
        0,
        360,
        255,
        -1,
    )
    up = np.array([np.sin(angle), -np.cos(angle)])
    side = np.array([up[1], -up[0]])
    thick = max(1, int(unit * rng.uniform(0.16, 0.24)))
    length = unit * rng.uniform(0.4, 1.0)
    for finger in (-0.38, -0.13, 0.12, 0.37):
        start = palm + side * unit * finger
        cv2.line(
            layer,
            _dot(start),
            _dot(start + up * (length * rng.uniform(0.8, 1.1)) + side * unit * 0.1 * finger),
            255,
            thick,
        )
    shade = cv2.GaussianBlur(layer, (0, 0), max(0.8, unit * 0.1)).astype(np.float32)[..., None] / 255
    texture = skin * (0.55 + 0.45 * shade)
    alpha = cv2.GaussianBlur(layer, (0, 0), 0.8).astype(np.float32)[..., None] / 255
    face.region[:] = (face.region * (1 - alpha) + texture * alpha).clip(0, 255)


def _cloth(face: Face, donor: Face | None, rng: np.random.Generator, top: float, chin: float, width: float) -> None:
    frame = Frame(face)
    shape = frame.outline(top, chin, width)
    if donor is not None and rng.random() < 0.5:
        # The texture of a real mask, warped from the donor to this outline.
        worn = Frame(donor).outline(0.35, 1.6, 0.95)
        matrix, _ = cv2.estimateAffine2D(worn, shape, method=cv2.LMEDS)
        if matrix is not None:
            texture = cv2.warpAffine(donor.region, matrix, face.region.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
            _paint(face.region, shape, texture.astype(np.float32), rng, shaded=False)
            return
    if rng.random() < 0.6:  # straps to the ears, under the cloth
        colour = rng.integers(0, 255, 3).tolist()
        for corner, ear in ((2, 1.35), (8, -1.35), (3, 1.35), (7, -1.35)):
            end = frame.at((ear - 0.5 * frame.yaw, 0.25))[0]
            cv2.line(face.region, _dot(shape[corner]), _dot(end), colour, max(1, int(frame.unit * 0.05)), cv2.LINE_AA)
    _paint(face.region, shape, _pattern(face.region, frame, rng), rng)


def _paint(
    region: Image, shape: Array, texture: Array, rng: np.random.Generator, softness: float = 1.0, shaded: bool = True
) -> None:
    """Fill a polygon (n, 2) with a texture (h, w, 3) float32; `shaded`: the shading of the face is kept."""
    layer = np.zeros(region.shape[:2], np.uint8)
    cv2.fillPoly(layer, [shape.round().astype(np.int32)], 255, cv2.LINE_AA)
    alpha = cv2.GaussianBlur(layer, (0, 0), softness).astype(np.float32)[..., None] / 255
    if shaded and rng.random() < 0.6:
        light = cv2.GaussianBlur(region, (0, 0), 4).mean(2, dtype=np.float32)[..., None]
        inside = light[layer > 0]
        if inside.size:
            texture = texture * (light / (inside.mean() + 10)).clip(0.4, 1.6) ** rng.uniform(0.3, 0.9)
    region[:] = (region * (1 - alpha) + texture * alpha).clip(0, 255)


def _plain(region: Image, rng: np.random.Generator, colour: npt.ArrayLike) -> Array:
    texture = np.empty(region.shape, np.float32)
    texture[:] = np.asarray(colour, np.float32)
    texture += np.linspace(rng.uniform(-25, 25), rng.uniform(-25, 25), len(texture), dtype=np.float32)[:, None, None]
    return texture


def _pattern(region: Image, frame: Frame, rng: np.random.Generator) -> Array:
    """Cloth: a plain colour with shading, or stripes, checks, dots, blotches; at times pleats. float32 (h, w, 3)."""
    usual = rng.random() < 0.5
    colour = np.array(SURGICAL[rng.integers(len(SURGICAL))]) if usual else rng.integers(0, 255, 3)
    texture = _plain(region, rng, colour * rng.uniform(0.75, 1.05))
    ys, xs = np.mgrid[: region.shape[0], : region.shape[1]].astype(np.float32) / max(frame.unit, 1)
    kind = rng.choice(["plain", "pleats", "stripes", "dots", "blotches"], p=[0.3, 0.3, 0.15, 0.1, 0.15])
    if kind == "pleats":
        texture *= 1 - rng.uniform(0.08, 0.3) * (np.sin(ys * rng.uniform(12, 30)) > 0.8)[..., None]
    elif kind != "plain":
        other = rng.integers(0, 255, 3).astype(np.float32)
        turn, pace = rng.uniform(0, 3.1), rng.uniform(8, 30)
        u, v = xs * np.cos(turn) + ys * np.sin(turn), ys * np.cos(turn) - xs * np.sin(turn)
        if kind == "stripes":
            on = np.sin(u * pace) > rng.uniform(-0.3, 0.6)
        elif kind == "dots":
            on = np.sin(u * pace) * np.sin(v * pace) > rng.uniform(0, 0.6)
        else:
            noise = rng.standard_normal((rng.integers(4, 14),) * 2).astype(np.float32)
            on = cv2.resize(noise, region.shape[1::-1], interpolation=cv2.INTER_CUBIC) > rng.uniform(-0.3, 0.6)
        texture = np.where(on[..., None], other, texture)
    return texture.astype(np.float32)


def _dot(point: Array) -> tuple[int, int]:
    return int(point[0]), int(point[1])

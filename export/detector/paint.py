"""Image augmentation of the detector: synthetic masks, backs of heads, and the degradation of real cameras."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from export.common.engines import Array

Image = npt.NDArray[np.uint8]


def draw_mask(image: Image, points: Array, rng: np.random.Generator, under: bool = False) -> None:
    """Draw a mask over a bare face in place: cloth from the nose bridge to below the chin, any colour or pattern.

    points: (5, 2) right eye, left eye, nose tip, right and left mouth corner, in pixels. under: the upper edge is under
    the nose, an incorrect mask.
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


def blend_patch(
    patch: npt.NDArray[Any], region: Image, centre: npt.NDArray[Any], axes: npt.NDArray[Any], turn: float, soft: float
) -> None:
    """Alpha-blend an oval of a patch into a region of its size, in place; its edge is blurred by `soft` pixels.

    centre, axes (both whole): pixels of the region; turn: radians, clockwise as pictures show it.
    """
    oval = np.zeros(patch.shape[:2], np.float32)
    cv2.ellipse(oval, (centre.tolist(), axes.tolist(), float(np.degrees(turn))), 1, -1)
    alpha = cv2.GaussianBlur(oval, (0, 0), max(0.5, float(soft)))[..., None]
    region[:] = (region * (1 - alpha) + patch * alpha).astype(np.uint8)


def draw_back_of_head(image: Image, points: Array, rng: np.random.Generator) -> bool:
    """Synthesise the back of a head in place, by warping the hair above a bare face over it: a negative that the sets
    hardly have and a net takes for a face. Long hair covers all of it; with short hair a nape shows, warped from a
    cheek. False, and unchanged, where the picture ends below the hair.

    points: as for `draw_mask`.
    """
    eyes, mouth = (points[0] + points[1]) / 2, (points[3] + points[4]) / 2
    down = mouth - eyes
    long = float(np.hypot(*down))
    frame = np.array([[down[1], -down[0]], down])  # across, down
    corners = np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)])
    hair, cheek = np.array([0, -rng.uniform(1.25, 1.6)]), np.array([rng.choice([-0.5, 0.5]), 0.4])
    strip = eyes + (hair + corners * [0.6, 0.3]) @ frame
    height, width = image.shape[:2]
    if long < 4 or (strip < 0).any() or (strip >= [width, height]).any():
        return False

    def stretch(source: Array, middle: float, axes: tuple[float, float], soft: float) -> None:
        """Warp what is in `source`, corners in pixels, over an oval that has its `middle` this far down from
        the eyes; axes in eye-to-mouth distances."""
        centre, reach = eyes + down * middle, 0.75 * max(axes) * long
        x0, y0 = np.maximum(centre - reach, 0).astype(int)
        x1, y1 = np.minimum(centre + reach + 1, [width, height]).astype(int)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        cover = centre - [x0, y0] + (corners * np.array(axes) / 2) @ frame
        comb = cv2.getAffineTransform(source[:3].astype(np.float32), cover[:3].astype(np.float32))
        combed = cv2.warpAffine(image, comb, (int(x1 - x0), int(y1 - y0)), borderMode=cv2.BORDER_REFLECT)
        turn = np.arctan2(down[1], down[0]) - np.pi / 2
        blend_patch(combed, image[y0:y1, x0:x1], centre - [x0, y0], np.array(axes) * long, turn, soft * long)

    wide = float(rng.uniform(2.3, 2.7))
    if rng.random() < 0.5:
        skin = eyes + (cheek + corners * 0.12) @ frame
        stretch(skin, 0.9, (wide - 0.6, 2.6), 0.15)
        bottom = float(rng.uniform(0.5, 1.5))  # from between the eyes and the mouth nearly to the chin
        stretch(strip, bottom - 1.3, (wide, 2.6), 0.08)
    else:
        stretch(strip, 0.35, (wide, float(rng.uniform(3.2, 3.8))), 0.12)
    return True


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """Photometric augmentation: brightness, contrast, colour, gamma, noise, greyscale, blur, JPEG compression."""
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

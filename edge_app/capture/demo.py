"""The source `demo`: a portrait that moves through the frame, for a while with a mask drawn over nose and mouth.

The portrait is the public-domain NASA photograph of an astronaut that the scikit-image package carries, so nothing is
downloaded. Every run gives the same pixels.
"""

import math

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.capture.source import Source, SourceInfo
from edge_app.errors import SourceError
from edge_app.records import Pixels

WIDTH, HEIGHT, FPS, FRAMES = 1280, 720, 25.0, 500
MASKED_FROM, MASKED_TO = 0.30, 0.75  # share of the video in which the mask is drawn
FACE_PX = (60.0, 220.0)  # smallest and largest face width in the video

CROP = (slice(0, 300), slice(60, 380))  # rows and columns of the photograph around the person
_FACE_CENTRE, _FACE_WIDTH = (162.0, 125.0), 84.0  # in pixels of that crop
# Corners of the mask in pixels of the crop, clockwise from the bridge of the nose to the viewer's left.
_MASK = np.array(
    [
        *[(162, 104), (184, 112), (205, 118), (203, 142), (190, 166)],
        *[(164, 182), (138, 168), (125, 144), (122, 118), (141, 111)],
    ],
    np.float32,
)
_EARS = (((122, 120), (114, 106)), ((126, 146), (116, 122)), ((205, 120), (212, 108)), ((202, 144), (211, 124)))


def portrait(masked: bool) -> Pixels:
    """The person from the photograph, uint8 (300, 320, 3) BGR, bare or with the drawn mask.

    Raises:
        SourceError: scikit-image is not installed.
    """
    try:
        from skimage.data import astronaut
    except ImportError:
        raise SourceError("demo: its portrait comes with scikit-image: pip install scikit-image") from None
    bare = np.ascontiguousarray(astronaut()[CROP][..., ::-1], np.uint8)
    return draw_mask(bare) if masked else bare


def draw_mask(image: Pixels) -> Pixels:
    """A copy of `portrait(masked=False)` with a surgical mask drawn on it: shaded, pleated, with ear loops."""
    shift, scale = 4, 16.0  # OpenCV draws at 1/16 pixel
    out = image.copy()
    for start, end in _EARS:
        cv2.line(out, start, end, (225, 228, 228), 1, cv2.LINE_AA)
    outline = np.round(_smooth(_MASK) * scale).astype(np.int32)
    cover = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(cover, [outline], (255,), cv2.LINE_AA, shift)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    # Light falls from the front: darker towards both cheeks and below the chin, with a few soft pleats across.
    side = 1 - 0.28 * np.clip(np.abs(columns - 164) / 42, 0, 1) ** 2
    below = 1 - 0.22 * np.clip((rows - 135) / 45, 0, 1) ** 2
    pleats = 1 - 0.09 * np.clip(np.sin((rows - 0.004 * (columns - 164) ** 2) * 2 * math.pi / 13), 0, 1)
    cloth = np.array((222, 204, 172), np.float32) * (side * below * pleats)[..., None]
    alpha = cover[..., None].astype(np.float32) / 255
    out = np.asarray(np.clip(out * (1 - alpha) + cloth * alpha, 0, 255), np.uint8)
    cv2.polylines(out, [outline], True, (188, 178, 158), 1, cv2.LINE_AA, shift)
    return out


def _smooth(corners: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    for _ in range(3):  # Chaikin corner cutting
        after = np.roll(corners, -1, axis=0)
        corners = np.stack([0.75 * corners + 0.25 * after, 0.25 * corners + 0.75 * after], axis=1).reshape(-1, 2)
    return corners


class DemoSource(Source):
    """1280x720 at 25 fps for 20 s, like a file: every frame in order, then the end."""

    def __init__(self) -> None:
        self._bare, self._masked = portrait(masked=False), portrait(masked=True)
        self.background = wall()
        self._index = 0
        self.info = SourceInfo("demo", "demo", False, WIDTH, HEIGHT, FPS, FRAMES)

    def read(self) -> tuple[Pixels, float] | None:
        if self._index >= FRAMES:
            return None
        index, self._index = self._index, self._index + 1
        return self.render(index), index / FPS

    def close(self) -> None:
        self._index = FRAMES

    def render(self, index: int) -> Pixels:
        """Picture `index` of the film, uint8 (HEIGHT, WIDTH, 3) BGR."""
        part = index / FRAMES
        small, large = FACE_PX
        scale = (small + (large - small) * (0.5 - 0.5 * math.cos(2 * math.pi * 2 * part))) / _FACE_WIDTH
        x = WIDTH * (0.5 + 0.28 * math.sin(2 * math.pi * part))
        y = HEIGHT * (0.47 + 0.06 * math.sin(2 * math.pi * 3 * part))
        move = np.array([[scale, 0, x - scale * _FACE_CENTRE[0]], [0, scale, y - scale * _FACE_CENTRE[1]]])
        person = self._masked if MASKED_FROM <= part < MASKED_TO else self._bare
        frame = self.background.copy()
        cv2.warpAffine(
            person, move, (WIDTH, HEIGHT), dst=frame, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
        )
        return frame


def wall() -> Pixels:
    """A wall with soft light and fine grain, uint8 (HEIGHT, WIDTH, 3) BGR."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    light = 168 - 48 * rows / HEIGHT + 14 * np.sin(columns / 210) + 8 * np.cos((columns + 2 * rows) / 95)
    grain = np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH)).astype(np.float32)
    pixels = (light + grain)[..., None] * np.array((1.02, 1.0, 0.98), np.float32)
    return np.asarray(np.clip(pixels, 0, 255), np.uint8)

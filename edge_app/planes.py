"""The pixels of a frame, however a decoder stores them: whole, scaled down, or a part of them, as BGR.

Detector and classifier need a small picture and a few crops. Cut from the decoded YUV planes they cost a fraction of
what converting every whole frame costs.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]  # (h, w)
Pixels = npt.NDArray[np.uint8]  # (H, W, 3), BGR

_SQUARE = Fraction(1)
# FFmpeg's quick conversion rounds down each term of a sum; measured, in levels of 255.
_LOST_BY_CHROMA, _LOST_BY_LUMA = 0.55, 0.25


class Picture(Protocol):
    """Pixels that can be asked for. width, height: of the whole, pixels; aspect: width over height of one pixel."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def aspect(self) -> Fraction: ...

    def bgr(self) -> Pixels:
        """The whole, uint8 (H, W, 3) BGR. Made once; not to be written to."""
        ...

    def shrunk(self, size: tuple[int, int]) -> Pixels:
        """The whole scaled down to (width, height) by averaging, uint8 (h, w, 3) BGR."""
        ...

    def part(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        """A rectangle inside of the picture, uint8 (bottom - top, right - left, 3) BGR; not to be written to."""
        ...


class BgrPicture:
    """A picture that is BGR already: of a webcam, a photo or the demo."""

    def __init__(self, image: Pixels, aspect: Fraction = _SQUARE) -> None:
        self._image, self.aspect = image, aspect

    @property
    def width(self) -> int:
        return int(self._image.shape[1])

    @property
    def height(self) -> int:
        return int(self._image.shape[0])

    def bgr(self) -> Pixels:
        return self._image

    def shrunk(self, size: tuple[int, int]) -> Pixels:
        return shrink(self._image, size)

    def part(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        return self._image[top:bottom, left:right]


class YuvPicture:
    """8-bit YUV planes, as most decoders give them.

    Args:
        planes: Y of the full size; U and V of the same, half or a quarter of its size, rounded up, in each direction.
        to_bgr: float32 (3, 4): BGR = to_bgr[:, :3] @ YUV + to_bgr[:, 3], values 0..255.
        whole: converts the whole picture, where something quicker than `to_bgr` can.
        aspect: see `Picture`.
    """

    def __init__(
        self,
        planes: tuple[Plane, Plane, Plane],
        to_bgr: npt.NDArray[np.float32],
        whole: Callable[[], Pixels] | None = None,
        aspect: Fraction = _SQUARE,
    ) -> None:
        self._planes, self._to_bgr, self.aspect = planes, to_bgr, aspect
        self._whole = whole or (lambda: self.part(0, 0, self.width, self.height))
        self._bgr: Pixels | None = None
        self._down, self._across = (
            next(step for step in (1, 2, 4) if -(-large // step) == small)
            for large, small in zip(planes[0].shape, planes[1].shape, strict=True)
        )

    @property
    def width(self) -> int:
        return int(self._planes[0].shape[1])

    @property
    def height(self) -> int:
        return int(self._planes[0].shape[0])

    def bgr(self) -> Pixels:
        if self._bgr is None:  # two threads may make it, with the same result
            self._bgr = self._whole()
        return self._bgr

    def shrunk(self, size: tuple[int, int]) -> Pixels:
        luma, *chroma = self._planes
        return self._mixed([shrink(luma, size), *(_shrink_chroma(plane, size) for plane in chroma)])

    def part(self, left: int, top: int, right: int, bottom: int) -> Pixels:
        if self._bgr is not None:
            return self._bgr[top:bottom, left:right]
        luma, *chroma = self._planes
        across, down = self._across, self._down
        if across == down == 1:
            return self._mixed([plane[top:bottom, left:right] for plane in self._planes])
        # One sample more on each side, so that interpolation knows what lies beyond; cut off again afterwards.
        x0, y0 = max(left // across - 1, 0), max(top // down - 1, 0)
        x1, y1 = -(-right // across) + 1, -(-bottom // down) + 1
        parts = [plane[y0:y1, x0:x1] for plane in chroma]
        size = (parts[0].shape[1] * across, parts[0].shape[0] * down)
        large = [cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in parts]
        rows, columns = slice(top - y0 * down, bottom - y0 * down), slice(left - x0 * across, right - x0 * across)
        return self._mixed([luma[top:bottom, left:right], *(np.asarray(p[rows, columns], np.uint8) for p in large)])

    def _mixed(self, planes: list[Plane]) -> Pixels:
        return np.asarray(cv2.transform(cv2.merge(planes), self._to_bgr), np.uint8)


def as_picture(image: Pixels | Picture) -> Picture:
    return BgrPicture(image) if isinstance(image, np.ndarray) else image


def shrink(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3) scaled to (width, height), down by averaging.

    From more than twice the size it goes to twice the size by interpolation first, which for a 1080p frame takes a
    third of the time and moves a pixel by less than one grey level on average.
    """
    if image.shape[1] > 2 * size[0] and image.shape[0] > 2 * size[1]:
        image = np.asarray(cv2.resize(image, (2 * size[0], 2 * size[1]), interpolation=cv2.INTER_LINEAR), np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shrink_chroma(plane: Plane, size: tuple[int, int]) -> Plane:
    """As `shrink`; of much larger chroma the nearest samples are averaged: it holds little detail, and FFmpeg's quick
    conversion of whole frames repeats it without interpolation too."""
    if plane.shape[1] > size[0] and plane.shape[0] > size[1]:
        twice = (2 * size[0], 2 * size[1])
        plane = np.asarray(cv2.resize(plane, twice, interpolation=cv2.INTER_NEAREST), np.uint8)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)


def yuv_to_bgr(red: float, blue: float, full_range: bool) -> npt.NDArray[np.float32]:
    """The matrix of `YuvPicture` for the luma weights of red and blue, as ITU-R BT.601 and BT.709 define it.

    It is darker than theirs by about one level, as what FFmpeg's quick conversion gives: crops are to be the same
    whether they are cut from the planes or from a whole frame.

    full_range: Y and chroma use 0..255; else 16..235 and 16..240.
    """
    green, u, v = 1 - red - blue, 2 * (1 - blue), 2 * (1 - red)
    to_bgr = _to_bgr([[1, u, 0], [1, -u * blue / green, -v * red / green], [1, 0, v]], full_range)
    to_bgr[:, 3] -= np.array([1, 2, 1]) * _LOST_BY_CHROMA + (0 if full_range else _LOST_BY_LUMA)
    return to_bgr


def ycgco_to_bgr(full_range: bool) -> npt.NDArray[np.float32]:
    """The same for YCgCo (ITU-T H.273), whose planes are Y, Cg and Co."""
    return _to_bgr([[1, -1, -1], [1, 1, 0], [1, -1, 1]], full_range)


def _to_bgr(rows: list[list[float]], full_range: bool) -> npt.NDArray[np.float32]:
    """rows: B, G and R of Y in 0..255 and chroma in -128..127."""
    scale = np.ones(3) if full_range else np.array([255 / 219, 255 / 224, 255 / 224])
    matrix, black = np.array(rows) * scale, np.array([0.0 if full_range else 16.0, 128.0, 128.0])
    return np.hstack([matrix, -(matrix @ black)[:, None]]).astype(np.float32)

"""Decoded frames as pictures: colour matrix, range, bit depth, interlacing and orientation are made good here."""

import logging
import struct
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from edge_app.planes import BgrPicture, Picture, Pixels, Plane, YuvPicture, ycgco_to_bgr, yuv_to_bgr

log = logging.getLogger(__name__)

# Luma weights of red and blue by the codes of ITU-T H.273. What says nothing is taken for BT.601, as FFmpeg does.
_BT601 = (0.299, 0.114)
_WEIGHTS = {
    1: (0.2126, 0.0722),
    2: _BT601,
    4: (0.30, 0.11),
    5: _BT601,
    6: _BT601,
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
_YCGCO = 8
_NEAREST = {10: 9, 13: 9, 14: 9}  # BT.2020 constant luminance, chromaticity derived, ICtCp; all else: BT.709
_UNSPECIFIED, _LIMITED, _FULL, _BT709 = 2, 1, 2, 1
_PLANAR = ("yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p")


class Converter:
    """Makes pictures of the frames of one source; tells once what it does not know exactly.

    turned: whether the last frame was turned by a quarter, so that width and height have changed places.
    """

    def __init__(self, display: str) -> None:
        self._display = display
        self._reformatter = VideoReformatter()
        self._told: set[int] = set()
        self.turned = False

    def __call__(self, frame: VideoFrame) -> Picture:
        quarters, mirrored = orientation(frame)
        self.turned = quarters % 2 == 1
        upright = partial(_upright, interlaced=frame.interlaced_frame, quarters=quarters, mirrored=mirrored)
        if _has_no_chroma(frame.format):
            return BgrPicture(upright(self._bgr(frame, _BT709)))
        code, full = int(frame.colorspace), int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj")
        matrix = self._known(code)
        if frame.format.name.replace("yuvj", "yuv") not in _PLANAR:
            frame = self._planar(frame, full)
        planes = [_plane(frame, index) for index in range(3)]
        y, u, v = (upright(plane) for plane in planes)
        if matrix == _YCGCO:
            return YuvPicture((y, u, v), ycgco_to_bgr(full))
        plain = y is planes[0]
        whole = partial(self._bgr, frame, matrix) if plain else None
        return YuvPicture((y, u, v), yuv_to_bgr(*_WEIGHTS[matrix], full), whole)

    def _known(self, code: int) -> int:
        if code == _YCGCO or code in _WEIGHTS:
            return code
        if code not in self._told:
            self._told.add(code)
            log.warning("%s: its colours are coded in a way that is not known here (matrix %d)", self._display, code)
        return _NEAREST.get(code, _BT709)

    def _planar(self, frame: VideoFrame, full: bool) -> VideoFrame:
        """The same in 8-bit planes: of more bits, in other orders, or with alpha, which is left out."""
        chroma = frame.format.components[1]
        wide, high = chroma.width * 2 > frame.width + 1, chroma.height * 2 > frame.height + 1
        name = "yuv444p" if wide and high else "yuv422p" if high else "yuv420p"
        _plain_tags(frame, _BT709)  # the same on both sides, so that no colour changes
        tag = _FULL if full else _LIMITED
        return self._reformatter.reformat(
            frame, format=name, src_color_range=tag, dst_color_range=tag, interpolation="BILINEAR"
        )

    def _bgr(self, frame: VideoFrame, matrix: int) -> Pixels:
        _plain_tags(frame, matrix)
        return np.asarray(self._reformatter.reformat(frame, format="bgr24").to_ndarray(), np.uint8)


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise after mirroring left and right, from the display matrix of a frame."""
    data = _display_matrix(frame)
    if data is None or len(data) < 36:
        return 0, False
    a, b, _, c, d, *_ = struct.unpack("=9i", data[:36])
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    if abs(a) >= abs(b):
        return (0 if a >= 0 else 2), mirrored
    return (3 if b > 0 else 1), mirrored


def _display_matrix(frame: VideoFrame) -> bytes | None:
    found = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # PyAV says that its keys are text
    return None if found is None else bytes(found)


def first_field(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A plane of an interlaced frame made of its first field alone: the two were taken at different times."""
    height, width = plane.shape[:2]
    return np.asarray(cv2.resize(plane[::2], (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _upright(plane: npt.NDArray[np.uint8], interlaced: bool, quarters: int, mirrored: bool) -> npt.NDArray[np.uint8]:
    if interlaced:
        plane = first_field(plane)
    if mirrored:
        plane = np.asarray(cv2.flip(plane, 1), np.uint8)
    return np.ascontiguousarray(np.rot90(plane, quarters)) if quarters else plane


def _has_no_chroma(kind: VideoFormat) -> bool:
    """RGB, palettes and grey, which FFmpeg converts as they are."""
    return kind.is_rgb or kind.has_palette or len(kind.components) < 3


def _plane(frame: VideoFrame, index: int) -> Plane:
    plane = frame.planes[index]
    pixels: Plane = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a buffer, which PyAV does not say
    return pixels.reshape(-1, plane.line_size)[: plane.height, : plane.width]


def _plain_tags(frame: VideoFrame, matrix: int) -> None:
    """Leave FFmpeg nothing that it would refuse to convert: no transfer curve, no primaries, a matrix it knows."""
    frame.colorspace = matrix
    frame.color_trc = frame.color_primaries = _UNSPECIFIED

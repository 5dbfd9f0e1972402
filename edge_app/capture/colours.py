"""Decoded frames as pictures: colour matrix, range, bit depth, interlacing and orientation are made good here."""

import logging
import struct
import threading
from fractions import Fraction
from functools import partial

import av.error
import cv2
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from edge_app.errors import SourceError, first_line
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
# What is not a matrix, or not only one, is decoded as the nearest that is; all else as BT.709. BT.2020 with constant
# luminance, ICtCp and IPT: BT.2020; the reversible kinds of YCgCo: YCgCo.
_NEAREST = {10: 9, 14: 9, 15: 9, 16: _YCGCO, 17: _YCGCO}
_DERIVED = {12, 13}  # the matrix follows from the primaries; 13 with constant luminance
# Chromaticities x, y of red, green, blue and white by the codes of H.273, for those.
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_PRIMARIES = {
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_UNSPECIFIED, _LIMITED, _FULL, _BT709 = 2, 1, 2, 1
_PLANAR = ("yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p")
_QUICK = ("yuv420p", "yuv422p")  # of which FFmpeg converts a whole frame fast, in a third of what our own way takes


class Converter:
    """Makes pictures of the frames of one source; tells once what it does not know exactly.

    One thread calls it; the pictures may be used by any.
    """

    def __init__(self, display: str) -> None:
        self._display = display
        self._to_planes, self._to_whole = VideoReformatter(), VideoReformatter()
        self._lock = threading.Lock()  # pictures are made whole in other threads, and a reformatter has one state
        self._told: set[int] = set()
        self._orientation: tuple[int, tuple[int, bool]] | None = None

    def __call__(self, frame: VideoFrame, aspect: Fraction = Fraction(1)) -> Picture:
        """The picture of a frame, upright. aspect: width over height of one pixel as it is stored.

        Raises:
            SourceError: a pixel format that FFmpeg cannot convert.
        """
        try:
            return self._picture(frame, aspect)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            kind = frame.format.name
            raise SourceError(
                f"{self._display}: its pixel format {kind} cannot be converted ({first_line(error)})"
            ) from None

    def _picture(self, frame: VideoFrame, aspect: Fraction) -> Picture:
        # Asked for seldom: PyAV's side data and its frame hold each other, until the garbage is collected.
        if self._orientation is None or self._orientation[0] != frame.rotation:
            self._orientation = frame.rotation, orientation(frame)
        quarters, mirrored = self._orientation[1]
        if quarters % 2:
            aspect = 1 / aspect
        upright = partial(_upright, interlaced=frame.interlaced_frame, quarters=quarters, mirrored=mirrored)
        if _is_direct(frame.format):
            return BgrPicture(upright(self._bgr(frame, _BT709)), aspect)
        full = int(frame.color_range) == _FULL or frame.format.name.startswith("yuvj")
        matrix, to_bgr = self._to_bgr(int(frame.colorspace), int(frame.color_primaries), full)
        if frame.format.name.replace("yuvj", "yuv") not in _PLANAR:
            frame = self._planar(frame, full)
        planes = [_plane(frame, index) for index in range(3)]
        y, u, v = (upright(plane) for plane in planes)
        quick = y is planes[0] and frame.format.name.replace("yuvj", "yuv") in _QUICK
        whole = partial(self._bgr, frame, matrix) if quick and matrix is not None else None
        return YuvPicture((y, u, v), to_bgr, whole, aspect)

    def _to_bgr(self, code: int, primaries: int, full: bool) -> tuple[int | None, npt.NDArray[np.float32]]:
        """FFmpeg's code of the matrix, None where it has none; and the matrix for `YuvPicture`."""
        if code not in {*_WEIGHTS, _YCGCO, 12} and code not in self._told:
            self._told.add(code)
            log.warning(
                "%s: its colours are coded in a way that is not known here (matrix %d): they may be a little off",
                self._display,
                code,
            )
        if code in _DERIVED and primaries in _PRIMARIES:
            return None, yuv_to_bgr(*luma_weights(primaries), full)
        code = code if code in _WEIGHTS else _NEAREST.get(code, _BT709) if code != _YCGCO else code
        return (None, ycgco_to_bgr(full)) if code == _YCGCO else (code, yuv_to_bgr(*_WEIGHTS[code], full))

    def _planar(self, frame: VideoFrame, full: bool) -> VideoFrame:
        """The same in 8-bit planes: of more bits, in other orders, or with alpha, which is left out."""
        chroma = frame.format.components[1]
        wide, high = chroma.width * 2 > frame.width + 1, chroma.height * 2 > frame.height + 1
        name = ("yuv444p" if high else "yuv440p") if wide else ("yuv422p" if high else "yuv420p")
        _plain_tags(frame, _BT709)  # the same on both sides, so that no colour changes
        tag = _FULL if full else _LIMITED
        return self._to_planes.reformat(
            frame, format=name, src_color_range=tag, dst_color_range=tag, interpolation="BILINEAR", threads=1
        )

    def _bgr(self, frame: VideoFrame, matrix: int) -> Pixels:
        with self._lock:
            _plain_tags(frame, matrix)
            whole = self._to_whole.reformat(frame, format="bgr24", threads=1)
        return np.asarray(whole.to_ndarray(), np.uint8)


def luma_weights(primaries: int) -> tuple[float, float]:
    """Those of red and blue that follow from primaries, by ITU-T H.273: the luminance of each, for white to be 1."""
    *colours, white = (np.array((x / y, 1.0, (1 - x - y) / y)) for x, y in _PRIMARIES[primaries])
    red, _, blue = np.linalg.solve(np.stack(colours, 1), white)
    return float(red), float(blue)


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise after mirroring left and right, from the display matrix of a frame."""
    try:
        data = _display_matrix(frame)
    except ValueError:  # beside the matrix there is something that PyAV does not know, such as EXIF
        return round(frame.rotation / 90) % 4, False
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
    """An interlaced plane of its upper field alone, (h, w) or (h, w, 3): the two were taken at different times.

    The lines of the other field are made of the two beside them.
    """
    lines, made = plane[::2], plane.copy()
    between = made[1::2]
    mean = cv2.addWeighted(lines[:-1], 0.5, lines[1:], 0.5, 0) if len(lines) > 1 else lines[:0]
    between[: len(mean)] = mean
    between[len(mean) :] = lines[-1]
    return made


def _upright(plane: npt.NDArray[np.uint8], interlaced: bool, quarters: int, mirrored: bool) -> npt.NDArray[np.uint8]:
    if interlaced:
        plane = first_field(plane)
    if mirrored:
        plane = np.asarray(cv2.flip(plane, 1), np.uint8)
    return np.ascontiguousarray(np.rot90(plane, quarters)) if quarters else plane


def _is_direct(kind: VideoFormat) -> bool:
    """RGB, palettes, XYZ, and grey, which FFmpeg takes for full range whatever its tag: so does all that writes it."""
    return kind.is_rgb or kind.has_palette or len(kind.components) < 3 or kind.name.startswith("xyz")


def _plane(frame: VideoFrame, index: int) -> Plane:
    """A view that keeps the frame, and by it the decoder's buffer."""
    plane = frame.planes[index]
    pixels: Plane = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a buffer, which PyAV does not say
    lines = pixels.reshape(-1, abs(plane.line_size))[: plane.height, : plane.width]
    return lines if plane.line_size > 0 else np.ascontiguousarray(lines[::-1])  # stored from the bottom up


def _plain_tags(frame: VideoFrame, matrix: int) -> None:
    """Leave FFmpeg nothing that it would refuse to convert: no transfer curve, no primaries, a matrix it knows."""
    frame.colorspace = matrix
    frame.color_trc = frame.color_primaries = _UNSPECIFIED

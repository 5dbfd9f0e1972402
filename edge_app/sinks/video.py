"""The annotated video: takes results, writes an H.264 MP4 that a browser plays."""

import contextlib
import logging
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import av.error
import cv2
from av.container import OutputContainer
from av.video.stream import VideoStream

from edge_app.errors import SinkError, UsageError
from edge_app.frames import FrameResult
from edge_app.overlay import annotate

log = logging.getLogger(__name__)

_SUFFIXES = (".mp4", ".m4v", ".mov")
_TIME_BASE = Fraction(1, 90_000)
_KEYFRAME_S = 2
# Written in fragments, each playable by itself, so a killed program leaves a video up to the last keyframe.
_MOVFLAGS = "frag_keyframe+empty_moov+default_base_moof"
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "23", "bf": "0", "rc-lookahead": "10"},  # few frames held in memory
    "libopenh264": {},
    "h264_v4l2m2m": {},
    "h264_videotoolbox": {},
}


class VideoSink:
    """Writes each result's annotated frame, at the time the frame has in its source.

    The first frame sets the size; later frames of another size are scaled to it. After a failed write the file so far
    stays playable, and writing goes on in a second file, `name-2.mp4`.

    Args:
        path: the .mp4 to write; one that exists is replaced.
        fps: nominal frames a second, for the distance of keyframes; None where unknown.

    Raises:
        UsageError: a name that does not end in .mp4, .m4v or .mov.
        SinkError: the file cannot be written, or this build of PyAV has no H.264 encoder.
    """

    name = "video"
    retry_s = 5.0
    catches_up = False

    def __init__(self, path: Path, fps: float | None = None) -> None:
        if path.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"{path}: the video must be named {', '.join(_SUFFIXES)}")
        self._path, self._rate = path, Fraction(fps or 25).limit_denominator(1001)
        found = [name for name in _ENCODERS if name in av.codecs_available]
        if not found:
            raise SinkError(f"{path}: this build of PyAV has no H.264 encoder; install the wheel of PyAV from PyPI")
        self._encoder = found[0]
        self._part, self._file = 1, path
        self._stream: VideoStream | None = None
        self._container: OutputContainer | None = self._open()

    def write(self, result: FrameResult) -> None:
        """Encode one frame.

        Raises:
            SinkError: the disk is full, or the encoder fails.
        """
        if self._container is None:
            self._part += 1
            self._container = self._open()
        try:
            self._encode(self._container, result)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._give_up()
            reason = getattr(error, "strerror", None) or error
            raise SinkError(f"{self._file}: the video cannot be written ({reason})") from None

    def close(self) -> None:
        container, stream, self._container = self._container, self._stream, None
        if container is None:
            return
        try:
            if stream is not None:
                container.mux(stream.encode(None))
            container.close()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SinkError(f"{self._file}: the end of the video cannot be written ({error})") from None
        if stream is None:  # no frame ever came: an empty file would look like a broken video
            self._file.unlink(missing_ok=True)

    def _open(self) -> OutputContainer:
        path = self._path
        self._file = path if self._part == 1 else path.with_stem(f"{path.stem}-{self._part}")
        self._stream = None
        try:
            with self._file.open("wb"):  # PyAV would only notice with the first frame
                pass
            options = {"movflags": _MOVFLAGS, "flush_packets": "1"}
            return av.open(str(self._file), "w", format="mp4", options=options)
        except (av.error.FFmpegError, OSError) as error:
            raise SinkError(f"{self._file}: the video cannot be written here ({error.strerror})") from None

    def _encode(self, container: OutputContainer, result: FrameResult) -> None:
        image = annotate(result)
        if self._stream is None:
            height, width = (max(2, side - side % 2) for side in image.shape[:2])  # 4:2:0 needs even sides
            stream = container.add_stream(self._encoder, rate=self._rate, options=_ENCODERS[self._encoder])
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = stream.time_base = _TIME_BASE
            stream.codec_context.gop_size = max(1, round(self._rate * _KEYFRAME_S))
            self._stream, self._start, self._last = stream, result.frame.time, -1
        stream = self._stream
        if image.shape[:2] != (stream.height, stream.width):
            odd = image.shape[0] - stream.height in (0, 1) and image.shape[1] - stream.width in (0, 1)
            image = (
                image[: stream.height, : stream.width]
                if odd
                else cv2.resize(image, (stream.width, stream.height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
            )
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        self._last = max(self._last + 1, round((result.frame.time - self._start) / _TIME_BASE))
        frame.pts, frame.time_base = self._last, _TIME_BASE
        container.mux(stream.encode(frame))

    def _give_up(self) -> None:
        """Let go of a file that cannot be written on, and take back the part of a fragment that still fitted."""
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            with contextlib.suppress(Exception):
                container.close()
        with contextlib.suppress(OSError):
            os.truncate(self._file, whole_fragments(self._file))


def whole_fragments(path: Path) -> int:
    """Where the last complete part of a fragmented MP4 ends, in bytes: its header, or a `moof` with its `mdat`.

    Players pass over what follows at best; some refuse the last frames or the file.
    """
    size, end, at = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            at += length
            if length < 8 or at > size:
                break
            if kind in (b"ftyp", b"moov", b"mdat"):  # a moof alone points to frames that are not there
                end = at
    return end

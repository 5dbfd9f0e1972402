"""The annotated video: takes results, writes an H.264 MP4 that a browser plays."""

import contextlib
import errno
import io
import logging
import os
import struct
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import Settings
from edge_app.errors import SinkError, UsageError
from edge_app.outputs import files
from edge_app.outputs.frames.queued import QueuedOutput
from edge_app.outputs.frames.recording import Recording
from edge_app.outputs.output import FrameOutput
from edge_app.outputs.overlay import annotate
from edge_app.records import FrameResult, Pixels

log = logging.getLogger(__name__)

_SUFFIXES = (".mp4", ".m4v", ".mov")
_TIME_BASE = Fraction(1, 90_000)
_MOST_ASPECT_TERM = 255  # of the width and height of a pixel; what H.264 and MP4 both hold, and no aspect needs more
_KEYFRAME_S = 2  # of the film
# Written in fragments, each playable by itself, so a killed program leaves a video up to the last keyframe. Of a slow
# source the film's own time would make them long: there the clock on the wall asks for keyframes.
_MOVFLAGS = "frag_keyframe+empty_moov+default_base_moof"
_FRAGMENT_S = 0.9  # of the clock on the wall: a kill, and all that holds a frame up, should take less than 2 s
_SLOW_FPS = 5.0  # below it every frame that an encoder holds back is a long time that a kill would take
# A short look ahead holds few frames back, and at this quality makes smaller files than a long one.
_ENCODERS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "veryfast", "crf": "23", "bf": "0", "rc-lookahead": "2"},
    "libopenh264": {},
    "h264_v4l2m2m": {},
    "h264_videotoolbox": {},
}
_AT_ONCE = {"libx264": {"tune": "zerolatency"}}  # holds no frame back; up to twice the size


def open_video(settings: Settings, info: SourceInfo) -> FrameOutput:
    output, max_fps = settings.output, settings.source.max_fps if info.live else None
    assert output.video is not None
    fps = min(filter(None, (info.fps, max_fps)), default=None)
    video = VideoOutput(output.video, fps, output.permissions, output.overwrite)
    return QueuedOutput(video, info.live, str(output.video))  # encoding is slow


class VideoOutput(FrameOutput):
    """Writes each result's annotated frame, at the time the frame has in its source.

    The first frame sets the size; later frames of another size are scaled to it. A file that is there is kept, and the
    next free name taken: `name-2.mp4`. After a failed write the file so far stays playable, and writing goes on in a
    further file; a removed one counts as a failed write.

    path: the first file that holds frames, by its real name; None while there is none.

    Args:
        path: the .mp4 to write.
        fps: nominal frames a second, for the distance of keyframes; None where unknown.
        mode: permissions of the file.
        overwrite: replace a file that is there, as soon as there is a frame; not one that another run is writing.
        clock: seconds.

    Raises:
        UsageError: a name that does not end in .mp4, .m4v or .mov.
        SinkError: the file cannot be written, or this build of PyAV has no H.264 encoder.
    """

    name = "video"
    retry_s = 5.0

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        mode: int = files.PRIVATE,
        overwrite: bool = False,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        if path.suffix.lower() not in _SUFFIXES:
            raise UsageError(f"{path}: the video must be named {', '.join(_SUFFIXES)}")
        self._wanted, self._mode, self._overwrite, self._clock = path, mode, overwrite, clock
        self._rate = Fraction(fps or 25).limit_denominator(1001)
        found = [name for name in _ENCODERS if name in av.codecs_available]
        if not found:
            raise SinkError(f"{path}: this build of PyAV has no H.264 encoder; install the wheel of PyAV from PyPI")
        self._encoder = found[0]
        self._options = _ENCODERS[self._encoder] | (_AT_ONCE.get(self._encoder, {}) if self._rate < _SLOW_FPS else {})
        self.path: Path | None = None
        self._number = 1
        self._stream: VideoStream | None = None
        self._file: Recording
        self._container: OutputContainer | None = self._open()

    def write(self, result: FrameResult) -> None:
        """Encode one frame.

        Raises:
            SinkError: the disk is full, or the encoder fails.
        """
        if self._container is None:
            self._container = self._open()
        try:
            self._encode(self._container, result)
            self._settle_if_whole()
            self._check_there()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._give_up()
            reason = getattr(error, "strerror", None) or error
            raise SinkError(f"{self._named}: the video cannot be written ({reason})") from None

    def close(self) -> None:
        container, stream, self._container = self._container, self._stream, None
        if container is None:
            return
        try:
            if stream is not None:
                container.mux(stream.encode(None))
            container.close()
            if stream is not None:  # or else no frame ever came: an empty file would look like a broken video
                self._settle()
            self._check_there()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._cut()
            reason = getattr(error, "strerror", None) or error
            raise SinkError(f"{self._named}: the end of the video cannot be written ({reason})") from None
        self._file.close()

    @property
    def _named(self) -> Path:
        return self._file.path or self._wanted

    def _open(self) -> OutputContainer:
        try:
            self._file = Recording(self._wanted, self._mode, self._overwrite, self._number)
        except OSError as error:
            raise SinkError(f"{self._wanted}: the video cannot be written here ({error.strerror})") from None
        self._stream = None
        options = {"movflags": _MOVFLAGS, "flush_packets": "1"}
        try:
            return av.open(self._file, "w", format="mp4", options=options)  # a name would be taken for a URL
        except av.error.FFmpegError as error:
            self._file.discard()
            raise SinkError(f"{self._wanted}: the video cannot be written here ({error.strerror})") from None

    def _begin(self, container: OutputContainer, result: FrameResult, height: int, width: int) -> VideoStream:
        """The first frame of a file."""
        stream = container.add_stream(self._encoder, rate=self._rate, options=self._options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        aspect = self._aspect = result.frame.picture.aspect
        if aspect != 1:
            stream.codec_context.sample_aspect_ratio = aspect.limit_denominator(_MOST_ASPECT_TERM)
        stream.codec_context.time_base = stream.time_base = _TIME_BASE
        stream.codec_context.gop_size = max(1, round(self._rate * _KEYFRAME_S))
        self._start, self._last, self._header = result.frame.time, -1, 0
        self._key_at = self._wrote_at = self._clock()
        return stream

    def _encode(self, container: OutputContainer, result: FrameResult) -> None:
        image = annotate(result)
        if self._stream is None:
            height, width = (max(2, side - side % 2) for side in image.shape[:2])  # 4:2:0 needs even sides
            self._stream = self._begin(container, result, height, width)
        stream = self._stream
        image = fitted(image, result.frame.picture.aspect / self._aspect, (stream.width, stream.height))
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        self._last = max(self._last + 1, round((result.frame.time - self._start) / _TIME_BASE))
        frame.pts, frame.time_base = self._last, _TIME_BASE
        if self._is_due():
            frame.pict_type = PictureType.I
        container.mux(stream.encode(frame))

    def _settle_if_whole(self) -> None:
        """Give the file its name once it holds a whole fragment: whatever has a name plays."""
        if self._file.path is None:
            size = os.fstat(self._file.fileno()).st_size
            self._header = self._header or size
            if size > self._header:
                self._settle()

    def _check_there(self) -> None:
        """Else a recording that somebody has removed would grow unseen, and be told as written."""
        if self._file.removed:
            if self.path == self._file.path:
                self.path = None
            raise FileNotFoundError(errno.ENOENT, "it was removed meanwhile")

    def _settle(self) -> None:
        if self._file.path is not None:
            return
        self._file.settle()
        name, further = self._file.path, self.path is not None
        self.path = self.path or name
        if name != self._wanted:
            hint = "" if self._overwrite or further else ", because that exists (--overwrite replaces it)"
            log.warning("%s: the video is written to %s%s", self._wanted, name, hint)

    def _is_due(self) -> bool:
        """Whether a keyframe must begin a new fragment now, because with the next frame it would be late."""
        now = self._clock()
        due = now - self._key_at + (now - self._wrote_at) > _FRAGMENT_S
        self._wrote_at = now
        if due:
            self._key_at = now
        return due

    def _give_up(self) -> None:
        """Let go of a file that cannot be written on."""
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            with contextlib.suppress(Exception):
                container.close()
        self._cut()

    def _cut(self) -> None:
        """Close the file without the part of a fragment that still fitted; without any, it never was."""
        file = self._file
        with contextlib.suppress(OSError):
            size, holds_frames = _whole(file)
            file.truncate(size)
            if holds_frames:
                self._settle()
        self._number = file.number + (file.path is not None and not file.removed)
        file.discard() if file.path is None else file.close()


def fitted(image: Pixels, aspect: Fraction, size: tuple[int, int]) -> Pixels:
    """A frame in the size that the video began with, undistorted: where its shape is another, black is beside it.

    image: uint8 (H, W, 3) BGR. aspect: of its pixels, by that of the video's. size: width and height of the result.
    """
    (height, width), (most_wide, most_high) = image.shape[:2], size
    if aspect == 1 and width - most_wide in (0, 1) and height - most_high in (0, 1):  # an odd side loses a line
        return image[:most_high, :most_wide]
    scale = min(most_wide / (width * aspect), most_high / height)
    wide, high = max(1, round(width * aspect * scale)), max(1, round(height * scale))
    image = np.asarray(cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)
    left, top = (most_wide - wide) // 2, (most_high - high) // 2
    beside = (top, most_high - high - top, left, most_wide - wide - left)
    return np.asarray(cv2.copyMakeBorder(image, *beside, borderType=cv2.BORDER_CONSTANT), np.uint8)


def whole_fragments(path: Path) -> int:
    """Where the last complete part of a fragmented MP4 ends, in bytes: its header, or a `moof` with its `mdat`.

    Players pass over what follows at best; some refuse the last frames or the file.
    """
    with path.open("rb") as file:
        return _whole(file)[0]


def _whole(file: BinaryIO | io.FileIO) -> tuple[int, bool]:
    """As `whole_fragments`, and whether there are frames before it."""
    size, end, at, frames = file.seek(0, io.SEEK_END), 0, 0, False
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        at += length
        if length < 8 or at > size:
            break
        if kind in (b"ftyp", b"moov", b"mdat"):  # a moof alone points to frames that are not there
            end, frames = at, kind == b"mdat"
    return end, frames

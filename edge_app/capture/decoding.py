"""An open video file or network stream: decodes one of its streams, frame by frame.

A frame keeps its decoded planes, see `planes`; its time is the presentation time that the container gives it.
"""

import errno
import gc
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge_app.capture.colours import Converter
from edge_app.capture.ffmpeg import DECODER_OPTIONS
from edge_app.capture.frame_counts import stated
from edge_app.capture.probe import reason, too_large
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.capture.stamps import FileClock, LiveClock
from edge_app.capture.tracks import choose, coding
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from edge_app.planes import Picture

log = logging.getLogger(__name__)

_MOST_BAD_PACKETS = 4096  # in a row; a stream that is joined late has a few
_MOST_DAMAGES = 16  # in a row, that a file is read on after
MOST_ASPECT = 16  # a pixel wider or higher than this is a mistake
_WITHOUT_STAMPS = {"mpjpeg", "mjpeg", "h264", "hevc", "m4v", "mpegvideo", "obu", "vvc"}
# FFmpeg gives the coded aspect of the last frame that it has probed.
_WITHOUT_ASPECT = _WITHOUT_STAMPS | {"jpeg_pipe", "mpegts", "mpeg", "rtsp"}


class VideoSource(Source):
    """An open container, of which one video stream is decoded.

    A live one that sends in bursts, as HLS does, gives frames before their time: whoever reads waits until it comes.

    Args:
        container: open.
        spec, settings: of the source.
        threads: CPU threads of the decoder; each holds a frame back.
        total: counts the frames, where the header does not tell.
        reopen: opens a file anew behind a position in bytes, where its codec may change on the way.
    """

    def __init__(
        self,
        container: InputContainer,
        spec: SourceSpec,
        settings: SourceSettings,
        threads: int,
        total: Callable[[VideoStream], int | None] = lambda _: None,
        reopen: Callable[[int], InputContainer] | None = None,
    ) -> None:
        self._container, self._display, self._reopen = container, spec.display, reopen
        self.files = ExitStack()  # open for as long as FFmpeg reads them
        self.files.callback(container.close)
        stream = self._stream = choose(container, settings.stream, spec.display)
        _only(container, stream)
        self._live = spec.live and _is_endless(container)
        self._timeout_s = settings.read_timeout_s if spec.live else math.inf
        context = stream.codec_context
        context.options = {**context.options, **DECODER_OPTIONS}
        context.thread_count = threads
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        if self._live:
            context.flags |= av.codec.context.Flags.low_delay
        self._rate = next((float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate), None)
        if self._rate is not None and not 0 < self._rate <= 1000:
            self._rate = None
        self._convert = Converter(spec.display)
        self._file_clock = FileClock(1 / (self._rate or 25.0), spec.display)
        kind = container.format.name
        stamped = kind not in _WITHOUT_STAMPS and not kind.endswith("_pipe")
        self._live_clock = LiveClock(stamped, paced=kind != "rtsp", catches_up=kind != "hls")
        self._waited_s, self._frame_at = 0.0, 0.0
        self._streams, self._told = len(container.streams), False
        self._problem = ""  # the last one of the decoder
        self._count, self._stated = 0, None if self._live else stated(stream)
        self._frames = self._decoded()
        try:
            self._first = self._next()
            if self._first is None:
                if problem := too_large((context.width, context.height)):  # the decoder has refused it itself
                    raise SourceError(f"{spec.display}: cannot be opened: {problem}")
                problem = self._problem and f": {self._problem}"
                raise SourceError(
                    f"{spec.display}: cannot be opened: none of its frames can be decoded "
                    f"({coding(container, stream)}{problem})",
                    "it may be damaged, or cut off before its first whole picture",
                )
        except BaseException:
            self.close()
            raise
        picture = self._first[0]
        count = self._stated or (None if self._live else total(stream))
        size = picture.width, picture.height
        self.info = SourceInfo(spec.display, spec.kind, self._live, *size, self._rate, count)

    def read(self) -> tuple[Picture, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._next()

    def close(self) -> None:
        self._first = None
        self._frames.close()  # or it would hold the decoder's memory until the garbage is collected
        self.files.close()
        gc.collect()  # a frame that was asked for its side data and that data hold each other in PyAV

    def _next(self) -> tuple[Picture, float] | None:
        frame = next(self._frames, None)
        if frame is None:
            if self._stated and 0 < self._count < 0.9 * self._stated:
                log.warning("%s: ends early: %d of %d frames could be read", self._display, self._count, self._stated)
                self._stated = None
            return None
        self._count += 1
        if problem := too_large((frame.width, frame.height)):
            raise SourceError(f"{self._display}: {problem}")
        if self._live:
            moment, self._waited_s = self._live_clock.time(frame.time, self._waited_s), 0.0
        else:
            moment = self._file_clock.time(frame.time)
        return self._convert(frame, self._aspect()), moment

    def _aspect(self) -> Fraction:
        """Width over height of a pixel: the container's word, where it has one, until the coded one changes."""
        coded = self._stream.codec_context.sample_aspect_ratio
        if self._count == 1:
            self._coded_aspect = coded
        own_word = self._container.format.name not in _WITHOUT_ASPECT and coded == self._coded_aspect
        known = self._stream.sample_aspect_ratio if own_word else coded
        return known if known and 1 / MOST_ASPECT <= known <= MOST_ASPECT else Fraction(1)

    def _decoded(self) -> Generator[VideoFrame, None, None]:
        bad, sound_at, looked_at = 0, 0, -1
        self._frame_at, again = time.monotonic(), True
        while again:
            again = False
            for packet in self._packets():
                frames: list[VideoFrame] = []
                try:
                    decoded = packet.decode() if packet is not None else self._stream.codec_context.decode(None)
                    frames = [frame for frame in decoded if isinstance(frame, VideoFrame)]
                    wrong = any(frame.is_corrupt for frame in frames)
                except (av.error.FFmpegError, OSError, ValueError) as error:
                    bad, wrong, self._problem = bad + 1, True, reason(error)
                    if bad > _MOST_BAD_PACKETS:
                        if self._live:
                            how = coding(self._container, self._stream)
                            raise SourceError(f"{self._display}: cannot be decoded ({how}: {self._problem})") from None
                        return
                if wrong and looked_at != sound_at:
                    looked_at, before = sound_at, self._stream.codec_context
                    if again := self._recoded_after(sound_at):
                        with suppress(av.error.FFmpegError):  # what the decoder still holds
                            yield from (frame for frame in before.decode(None) if not frame.is_corrupt)
                        break
                if frames and packet is not None and packet.pos is not None:
                    sound_at = packet.pos
                for frame in frames:
                    yield frame
                    bad, self._frame_at = 0, time.monotonic()

    def _recoded_after(self, position: int) -> bool:
        """Whether a file goes on in another codec: then it is read on from there. FFmpeg itself stays with the first.

        position: of the last sound packet, bytes.
        """
        if self._reopen is None:
            return False
        container = None
        with suppress(av.error.FFmpegError, OSError, ValueError, SourceError):
            container = self._reopen(position)
            stream = choose(container, None, self._display)
            if stream.codec_context.codec.canonical_name != self._stream.codec_context.codec.canonical_name:
                before, after = self._stream.codec_context, stream.codec_context
                after.thread_count, after.thread_type = before.thread_count, before.thread_type
                self.files.callback(container.close)
                _only(container, stream)
                self._container, self._stream = container, stream
                return True
        if container is not None:
            container.close()
        return False

    def _packets(self) -> Iterator["Packet[Stream] | None"]:
        """The packets of the stream, and None where the decoder is to give what it holds back."""
        damaged = 0
        packets = self._container.demux()
        while True:
            asked_at = time.monotonic()
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError, ValueError) as error:
                late = time.monotonic() - asked_at > 0.9 * self._timeout_s  # some protocols call it something else
                if late or isinstance(error, av.error.ExitError):
                    raise self._silent() from None
                if self._live:
                    if getattr(error, "errno", None) == errno.EIO:  # so FFmpeg calls the end of what has no known end
                        return
                    raise SourceError(f"{self._display}: lost ({reason(error)})") from None
                damaged += 1
                if not isinstance(error, av.error.InvalidDataError) or damaged > _MOST_DAMAGES:
                    yield None
                    return
                packets = self._container.demux()
                continue
            if packet is None:
                if time.monotonic() - asked_at > 0.9 * self._timeout_s:
                    raise self._silent()
                return
            self._waited_s += time.monotonic() - asked_at
            if time.monotonic() - self._frame_at > self._timeout_s:  # there is sound all the time, or nothing but ruins
                raise self._silent()
            if packet.stream.index == self._stream.index:
                damaged = 0
                yield packet
            elif packet.stream.type == "video" and packet.stream.index >= self._streams and not self._told:
                self._told = True  # an MPEG-TS whose video goes on under another number
                log.warning("%s: a further video stream begins on the way, and is not read", self._display)

    def _silent(self) -> SourceError:
        return SourceError(f"{self._display}: no frame for {self._timeout_s:g} s")


def _only(container: InputContainer, stream: VideoStream) -> None:
    """Let FFmpeg read nothing of the other streams."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all


def _is_endless(container: InputContainer) -> bool:
    """Whether a network stream goes on for ever; over RTSP a camera may say how long it is, and go on."""
    return container.format.name == "rtsp" or not (container.duration or is_picture(container))


def is_picture(container: InputContainer) -> bool:
    """Whether what a server has sent is one picture."""
    return container.format.name.endswith("_pipe") and container.size > 0

"""Video files and network streams through FFmpeg, by PyAV: takes a `SourceSpec`, gives an open `Source`.

A frame keeps its decoded planes, see `planes`; its time is the presentation time that the container gives it.
"""

import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge_app.capture.colours import Converter
from edge_app.capture.ffmpeg import Options, file_options, is_playlist, limit_allocations, stream_options
from edge_app.capture.input_files import is_pipe, open_regular, wait_for_data
from edge_app.capture.playlists import check_playlist
from edge_app.capture.probe import check_reachable, too_large, why_list, why_not_opened
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.capture.stamps import FileClock, LiveClock
from edge_app.capture.tracks import choose, coding
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError, first_line
from edge_app.planes import Picture

log = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_TS_PACKET = 188  # bytes
_PROBE_S = 5.0
_MOST_BAD_PACKETS = 4096  # in a row; a stream that is joined late has a few
MOST_ASPECT = 16  # a pixel wider or higher than this is a mistake
_COUNTED_BYTES = 100_000_000  # of a file whose frames are counted where its header does not tell
_WITHOUT_STAMPS = {"mpjpeg", "mjpeg", "jpeg_pipe", "h264", "hevc", "m4v", "mpegvideo", "obu", "vvc"}
_WITHOUT_ASPECT = _WITHOUT_STAMPS | {"mpegts", "mpeg", "rtsp"}  # FFmpeg gives the coded one of the last probed frame


class VideoSource(Source):
    """An open container, of which one video stream is decoded.

    Args:
        container: open.
        spec, settings: of the source.
        paced: a live source that sends in bursts, such as HLS: its frames are given at the pace of their time stamps.
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
        self._reopen = reopen
        self._container, self._display, self._timeout_s = container, spec.display, settings.read_timeout_s
        self.files = ExitStack()  # open for as long as FFmpeg reads them
        self.files.callback(container.close)
        stream = self._stream = choose(container, settings.stream, spec.display)
        self._live = spec.live and (container.format.name == "rtsp" or not container.duration)
        context = stream.codec_context
        context.thread_count = threads
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        if self._live:
            context.flags |= av.codec.context.Flags.low_delay
        self._rate = next((float(rate) for rate in (stream.average_rate, stream.guessed_rate) if rate), None)
        if self._rate is not None and not 0 < self._rate <= 1000:
            self._rate = None
        self._convert = Converter(spec.display)
        self._clock = (
            LiveClock(stamped=container.format.name not in _WITHOUT_STAMPS, paced=container.format.name != "rtsp")
            if self._live
            else FileClock(1 / (self._rate or 25.0), spec.display)
        )
        self._problem = ""  # the last one of the decoder
        self._count, self._expected = 0, None if self._live else total(stream)
        self._frames = self._decoded()
        self._first = self._next()
        if self._first is None:
            raise SourceError(
                f"{spec.display}: cannot be opened: none of its frames can be decoded ({coding(container, stream)}"
                f"{self._problem and f': {self._problem}'})",
                "it may be damaged, or cut off before its first whole picture",
            )
        picture = self._first[0]
        self.info = SourceInfo(
            spec.display, spec.kind, self._live, picture.width, picture.height, self._rate, self._expected
        )

    def read(self) -> tuple[Picture, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._next()

    def close(self) -> None:
        self._frames.close()
        self.files.close()

    def _next(self) -> tuple[Picture, float] | None:
        frame = next(self._frames, None)
        if frame is None:
            if self._expected and 0 < self._count < 0.9 * self._expected:
                log.warning("%s: ends early: %d of %d frames could be read", self._display, self._count, self._expected)
                self._expected = None
            return None
        self._count += 1
        if problem := too_large((frame.width, frame.height)):
            raise SourceError(f"{self._display}: {problem}")
        moment = self._clock.time(frame.time)
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
        packets = self._container.demux(self._stream)
        while True:
            frames: list[VideoFrame] = []
            wrong = False
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except (av.error.ExitError, av.error.TimeoutError):
                raise SourceError(f"{self._display}: no frame for {self._timeout_s:g} s") from None
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, OSError, ValueError) as error:
                bad += 1
                wrong = True
                self._problem = first_line(error)
                if bad > _MOST_BAD_PACKETS or (isinstance(error, OSError) and self._live):
                    how = coding(self._container, self._stream)
                    raise SourceError(f"{self._display}: cannot be decoded ({how}: {self._problem})") from None
            if (wrong or any(frame.is_corrupt for frame in frames)) and looked_at != sound_at:
                looked_at, before = sound_at, self._stream.codec_context
                if self._recoded_after(sound_at):
                    packets = self._container.demux(self._stream)
                    with suppress(av.error.FFmpegError):  # what the decoder still holds
                        yield from (frame for frame in before.decode(None) if not frame.is_corrupt)
                    continue
            if frames:
                bad = 0
                if packet is not None and packet.pos is not None:
                    sound_at = packet.pos
            yield from frames

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
                self._container, self._stream = container, stream
                return True
        if container is not None:
            container.close()
        return False


def open_file(spec: SourceSpec, settings: SourceSettings) -> Source:
    with ExitStack() as opened:
        file = opened.enter_context(open_regular(spec.uri, spec.display, pipes=True))
        piped = is_pipe(file)
        why = ""
        if piped:  # FFmpeg reads our end: whatever is read here would be missing, and who wrote it may be gone by now
            wait_for_data(file, spec.display, settings.open_timeout_s)
            url = f"pipe:{file.fileno()}"
            why = "it is a pipe, which needs a format that is read from front to back, such as MPEG-TS or Matroska"
        else:
            # "file:" keeps FFmpeg from reading a name such as 12:30.mp4 as a protocol, or 100%d.mp4 as a pattern.
            url = f"file:{spec.uri if _is_text(spec.uri) else f'/proc/self/fd/{file.fileno()}'}"
            head = file.read(_HEAD_BYTES)
            if problem := why_list(head):
                raise SourceError(f"{spec.display}: cannot be opened: {problem}")
        options = file_options(piped)
        reopen: Callable[[int], InputContainer] | None = None
        if not piped and head[:1] == head[_TS_PACKET : _TS_PACKET + 1] == b"G":  # MPEG-TS: recordings joined end to end
            options["fpsprobesize"] = "2"  # FFmpeg would look on into the next codec, and take the last for the first
            here = options

            def reopen(position: int) -> InputContainer:
                return av.open(url, options=here | {"skip_initial_bytes": str(position + _TS_PACKET)})

        container = _open(url, options, None, spec, why)
        # The models need the other cores, and every thread of a decoder holds pictures: two cost 30 MiB more at 1080p.
        threads = settings.decode_threads or max(1, (os.cpu_count() or 1) // 2)
        size = 0 if piped else Path(f"/proc/self/fd/{file.fileno()}").stat().st_size

        def total(stream: VideoStream) -> int | None:
            small = 0 < size < _COUNTED_BYTES
            return _stated(container, stream) or (_counted(url, options, stream.index) if small else None)

        source = _source(container, spec, settings, threads, total, reopen)
        source.files.push(opened.pop_all())
        return source


def open_stream(spec: SourceSpec, settings: SourceSettings) -> Source:
    deadline = time.monotonic() + settings.open_timeout_s
    check_reachable(spec.uri, settings.open_timeout_s)
    if is_playlist(spec.uri):
        check_playlist(spec.uri, deadline - time.monotonic())
    timeouts = (max(0.5, deadline - time.monotonic()), settings.read_timeout_s)
    container = _open(spec.uri, stream_options(spec.uri, settings), timeouts, spec)
    return _source(container, spec, settings, 1, lambda stream: _stated(container, stream))


def _open(
    url: str, options: Options, timeouts: tuple[float, float] | None, spec: SourceSpec, why: str = ""
) -> InputContainer:
    limit_allocations()
    try:
        return av.open(url, timeout=timeouts, options=options)
    except av.error.ExitError:
        assert timeouts is not None
        raise SourceError(f"{spec.display}: cannot be opened: connected, but no video in time") from None
    except Exception as error:
        problem = why or why_not_opened(error, url, options)
        raise SourceError(f"{spec.display}: cannot be opened: {problem}") from None


def _source(
    container: InputContainer,
    spec: SourceSpec,
    settings: SourceSettings,
    threads: int,
    total: Callable[[VideoStream], int | None],
    reopen: Callable[[int], InputContainer] | None = None,
) -> VideoSource:
    try:
        return VideoSource(container, spec, settings, threads, total, reopen)
    except BaseException:
        container.close()
        raise


def _stated(container: InputContainer, stream: VideoStream) -> int | None:
    """The number of frames as the header has it; None where it does not tell, or its own duration says otherwise."""
    if not (stream.frames and stream.duration and stream.time_base and stream.average_rate):
        return None
    expected = float(stream.duration * stream.time_base * stream.average_rate)
    return stream.frames if abs(stream.frames - expected) < 2 else None


def _counted(url: str, options: Options, index: int) -> int | None:
    """The number of frames of a file, counted by its packets, which are not decoded."""
    try:
        with av.open(url, options=options) as container:
            stream = container.streams[index]
            return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard) or None
    except (av.error.FFmpegError, OSError, ValueError):
        return None


def _is_text(name: str) -> bool:
    """Whether a file's name can be handed to PyAV, which takes UTF-8 alone; Linux has other names too."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Opens video files and network streams with FFmpeg, by PyAV: takes a `SourceSpec`, gives an open `Source`."""

import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from edge_app.capture.decoding import VideoSource, is_picture
from edge_app.capture.ffmpeg import Options, file_options, is_playlist, limit_allocations, stream_options
from edge_app.capture.frame_counts import counted
from edge_app.capture.input_files import is_pipe, open_regular, wait_for_data
from edge_app.capture.playlists import check_playlist
from edge_app.capture.probe import check_reachable, why_list, why_not_opened
from edge_app.capture.source import Source, SourceSpec
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError

log = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_TS_PACKET = 188  # bytes
_COUNTED_BYTES = 100_000_000  # of a file whose frames are counted where its header does not tell


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

        container = _open(url, options, spec, lambda error: why or why_not_opened(error, url, options))
        # The models need the other cores, and every thread of a decoder holds pictures: two cost 30 MiB more at 1080p.
        threads = settings.decode_threads or max(1, (os.cpu_count() or 1) // 2)
        size = 0 if piped else Path(f"/proc/self/fd/{file.fileno()}").stat().st_size

        def total(stream: VideoStream) -> int | None:
            return counted(url, options, stream.index) if 0 < size < _COUNTED_BYTES else None

        source = _source(container, spec, settings, threads, total, reopen)
        source.files.push(opened.pop_all())
        return source


def open_stream(spec: SourceSpec, settings: SourceSettings) -> Source:
    deadline = time.monotonic() + settings.open_timeout_s
    check_reachable(spec.uri, settings.open_timeout_s)
    if is_playlist(spec.uri):
        check_playlist(spec.uri, deadline - time.monotonic())
    options = stream_options(spec.uri, settings)
    timeouts = (max(0.5, deadline - time.monotonic()), settings.read_timeout_s)

    def why(error: Exception) -> str:
        if time.monotonic() >= deadline - 0.1:
            return f"connected, but no video within {settings.open_timeout_s:g} s"
        return why_not_opened(error, spec.uri, options, min(3.0, settings.open_timeout_s))

    container = _open(spec.uri, options, spec, why, timeouts)
    if is_picture(container):
        log.warning("%s: a single picture: source.every fetches it again and again, as a camera", spec.display)
    return _source(container, spec, settings, 1, lambda _: None)


def _open(
    url: str,
    options: Options,
    spec: SourceSpec,
    why: Callable[[Exception], str],
    timeouts: tuple[float, float] | None = None,
) -> InputContainer:
    limit_allocations()
    try:
        return av.open(url, timeout=timeouts, options=options)
    except Exception as error:
        raise SourceError(f"{spec.display}: cannot be opened: {why(error)}") from None


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


def _is_text(name: str) -> bool:
    """Whether a file's name can be handed to PyAV, which takes UTF-8 alone; Linux has other names too."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

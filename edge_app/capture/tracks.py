"""Which video stream of a container is decoded, and what its codec is called in an error."""

import re

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from edge_app.capture.probe import too_large
from edge_app.errors import SourceError


def choose(container: InputContainer, wanted: int | None, display: str) -> VideoStream:
    """The video stream to be decoded: the one asked for, else the largest that is no cover picture."""
    videos = container.streams.video
    if not videos:
        raise SourceError(f"{display}: cannot be opened: it has no video stream ({container.format.long_name})")
    if wanted is not None:
        films = [stream for stream in videos if stream.index == wanted]
        if not films:
            there = ", ".join(str(stream.index) for stream in videos)
            raise SourceError(f"{display}: source.stream = {wanted}: it has no such video stream; there are: {there}")
    else:
        films = [stream for stream in videos if not stream.disposition & Disposition.attached_pic] or [*videos]
    decodable = [stream for stream in films if stream.codec_context is not None]
    if not decodable:
        raise SourceError(
            f"{display}: cannot be opened: PyAV {av.__version__} has no decoder for {coding(container, films[0])}",
            "install the wheel of PyAV from PyPI (pip install av), or convert the video to H.264",
        )
    # A stream of one picture beside others is no film either, whatever it is called: that of an AVIF, for one.
    chosen = max(decodable, key=lambda stream: (stream.frames != 1, stream.width * stream.height))
    if problem := too_large((chosen.width, chosen.height)):
        raise SourceError(f"{display}: cannot be opened: {problem}")
    return chosen


def coding(container: InputContainer, stream: VideoStream) -> str:
    """Names of codec and container."""
    context = stream.codec_context
    codec = _undecodable(container, stream.index) if context is None else context.codec.canonical_name
    return f"{codec} in {container.format.long_name}"


def _undecodable(container: InputContainer, index: int) -> str:
    """The name of a codec without a decoder, which PyAV tells only in FFmpeg's description of the whole file."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)  # of the description
    try:
        text = container.dumps_format()  # type: ignore[attr-defined]  # left out of PyAV's stubs
    finally:
        av.logging.set_level(level)
    found = re.search(rf"^ +Stream #0:{index}\b.*?: Video: ([^,\n]+)", text, re.MULTILINE)
    name = found[1].removeprefix("none").strip() if found else ""
    return name or "a video codec without a name"

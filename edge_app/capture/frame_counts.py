"""How many frames a film has: takes what its header says, or the film itself; a header is not believed on its word."""

import av
import av.error
from av.video.stream import VideoStream

from edge_app.capture.ffmpeg import Options


def stated(stream: VideoStream) -> int | None:
    """The number of frames as the header has it; None where it does not tell, or its own duration says otherwise."""
    expected = _by_duration(stream)
    return stream.frames if expected and stream.frames and abs(stream.frames - expected) < 2 else None


def counted(url: str, options: Options, index: int) -> int | None:
    """The number of frames of a file, counted by its packets, which are not decoded; None where they tell nothing."""
    try:
        with av.open(url, options=options) as container:
            stream = container.streams[index]
            count = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
            expected = _by_duration(stream) if isinstance(stream, VideoStream) else None
    except (av.error.FFmpegError, OSError, ValueError):
        return None
    fields = expected is not None and count > 1.5 * expected  # two packets a frame
    return None if fields else count or None


def _by_duration(stream: VideoStream) -> float | None:
    if not (stream.duration and stream.time_base and stream.average_rate):
        return None
    return float(stream.duration * stream.time_base * stream.average_rate)

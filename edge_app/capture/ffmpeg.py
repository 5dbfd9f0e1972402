"""FFmpeg's limits: the protocols and containers that each kind of source may use, and the memory.

FFmpeg opens whatever content asks for: a playlist named .mp4 plays other files and calls other servers, an SDP file
opens ports. So every kind of source has an allow list.
"""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edge_app.config.settings import SourceSettings
from edge_app.shared_libraries import loaded

MAX_PIXELS = 8192 * 4320  # of a frame: 8K cinema; one takes 106 MB as BGR, and decoders hold up to 16 more
MAX_ALLOCATION = 128 << 20  # bytes at a time: such a frame as BGR, and no reply of a server that says it is 2 GB long
OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,asf,ogg,mxf,nut,rm,wtv,dv,mjpeg,"
    "yuv4mpegpipe,wav,mp3,aac,flac"  # the last four only to say that they hold no video
)
_USER_OPTIONS = os.environ.get(OPTIONS_VARIABLE)

Options = dict[str, str]


def file_options(piped: bool) -> Options:
    return {"protocol_whitelist": "pipe" if piped else "file", "format_whitelist": _CONTAINERS}


def stream_options(url: str, settings: SourceSettings) -> Options:
    """Of a URL with the scheme rtsp, rtsps, http or https."""
    if url.startswith("rtsp"):
        return {
            "protocol_whitelist": "rtp,srtp,udp,tcp,tls",
            "format_whitelist": "rtsp",
            "rtsp_transport": settings.rtsp_transport,
            # By default FFmpeg probes a second of the stream for its rate, by which the first frames are then late.
            "fpsprobesize": "2",
        }
    playlist = ",hls" if is_playlist(url) else ""
    return {
        "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto",
        "format_whitelist": f"{_CONTAINERS},mpjpeg,jpeg_pipe{playlist}",
        "max_redirects": "0",  # a redirect may lead to any port of this machine or its network
    }


def is_playlist(url: str) -> bool:
    return url.startswith("http") and "m3u8" in url.lower()


class _OpenCvOptions:
    """FFmpeg's options for the sources that open now; OpenCV takes them from the environment of the process alone.

    Sources with the same options open concurrently; others wait for them, `patience_s` seconds at most. Options that
    the user has put into the environment come last, so they win.
    """

    def __init__(self) -> None:
        self._changed, self._opening = threading.Condition(), 0

    @contextmanager
    def __call__(self, options: Options, patience_s: float) -> Iterator[None]:
        text = "|".join([*(f"{key};{value}" for key, value in options.items()), *filter(None, [_USER_OPTIONS])])
        with self._changed:
            self._changed.wait_for(lambda: not self._opening or os.environ.get(OPTIONS_VARIABLE) == text, patience_s)
            self._opening += 1
            if os.environ.get(OPTIONS_VARIABLE) != text:
                _set_environment(text)
        try:
            yield
        finally:
            with self._changed:
                self._opening -= 1
                if not self._opening:  # child processes must not inherit ours as the user's
                    _set_environment(_USER_OPTIONS)
                self._changed.notify_all()


def _set_environment(text: str | None) -> None:
    os.environ.pop(OPTIONS_VARIABLE, None)
    if text is not None:
        os.environ[OPTIONS_VARIABLE] = text


opencv_options = _OpenCvOptions()


def limit_allocations() -> None:
    """Let no copy of FFmpeg that is loaded now allocate more than `MAX_ALLOCATION` bytes at a time.

    OpenCV and PyAV bring one each, and pass nothing on to decoders and protocols that would limit them otherwise.
    """
    for library in loaded("/libavutil"):
        with suppress(AttributeError):  # an FFmpeg linked in another way
            library.av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION))

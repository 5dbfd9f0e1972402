"""FFmpeg's limits: the protocols and containers that each kind of source may use, and the memory.

FFmpeg opens whatever content asks for: a playlist named .mp4 plays other files and calls other servers, an SDP file
opens ports. So every kind of source has an allow list.
"""

import ctypes
import os
from contextlib import suppress

from edge_app.config.settings import SourceSettings
from edge_app.shared_libraries import loaded

MAX_PIXELS = 8192 * 4320  # of a frame: 8K cinema; one takes 106 MB as BGR, and decoders hold up to 16 more
MAX_ALLOCATION = 128 << 20  # bytes at a time: such a frame as BGR, and no reply of a server that says it is 2 GB long

_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,flv,asf,ogg,mxf,nut,rm,wtv,dv,mjpeg,"
    "yuv4mpegpipe,gif,wav,mp3,aac,flac"  # the last four only to say that they hold no video
)
_PICTURES = "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe"

Options = dict[str, str]

DECODER_OPTIONS: Options = {"max_pixels": str(MAX_PIXELS)}  # which FFmpeg looks at before it makes room for a frame


def file_options(piped: bool) -> Options:
    protocol = "pipe" if piped else "file"
    return {"protocol_whitelist": protocol, "format_whitelist": _CONTAINERS, **DECODER_OPTIONS, **_own_options()}


def stream_options(url: str, settings: SourceSettings) -> Options:
    """Of a URL with the scheme rtsp, rtsps, http or https."""
    if url.startswith("rtsp"):
        return {
            "protocol_whitelist": "rtp,srtp,udp,tcp,tls",
            "format_whitelist": "rtsp",
            "rtsp_transport": settings.rtsp_transport,
            # By default FFmpeg probes a second of the stream for its rate, by which the first frames are then late.
            "fpsprobesize": "2",
            **DECODER_OPTIONS,
            **_own_options(),
        }
    playlist = ",hls" if is_playlist(url) else ""
    # Cameras call their segments what they like; what may be opened, and as what, the white lists say.
    any_name = {"allowed_extensions": "ALL", "allowed_segment_extensions": "ALL", "extension_picky": "0"}
    return {
        "protocol_whitelist": "http,https,httpproxy,tcp,tls,crypto",
        "format_whitelist": f"{_CONTAINERS},mpjpeg,{_PICTURES}{playlist}",
        "max_redirects": "0",  # a redirect may lead to any port of this machine or its network
        **(any_name if playlist else {}),
        **DECODER_OPTIONS,
        **_own_options(),
    }


def _own_options() -> Options:
    """Those that the user wants, written as OpenCV reads them, `key;value|key;value`; they win."""
    pairs = (pair.partition(";") for pair in os.environ.get("OPENCV_FFMPEG_CAPTURE_OPTIONS", "").split("|"))
    return {key: value for key, separator, value in pairs if separator}


def is_playlist(url: str) -> bool:
    return url.startswith("http") and "m3u8" in url.lower()


def limit_allocations() -> None:
    """Let no copy of FFmpeg that is loaded now allocate more than `MAX_ALLOCATION` bytes at a time.

    OpenCV and PyAV bring one each, and pass nothing on to decoders and protocols that would limit them otherwise.
    """
    for library in loaded("/libavutil"):
        with suppress(AttributeError):  # an FFmpeg linked in another way
            library.av_max_alloc(ctypes.c_size_t(MAX_ALLOCATION))

"""Diagnoses why a stream or video cannot be opened; OpenCV gives no reason."""

import os
import socket
import urllib.parse
import urllib.request

from edge_app.capture import web
from edge_app.capture.ffmpeg import MAX_PIXELS, Options, limit_allocations
from edge_app.errors import SourceError
from edge_app.redact import shown_source

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_LISTS = {  # text files that make FFmpeg open something else
    b"#EXTM3U": "a playlist (HLS)",
    b"ffconcat": "a list of files (concat)",
    b"v=0": "a description of network streams (SDP)",
    b"[playlist]": "a playlist",
    b"<MPD": "a playlist (DASH)",
}


def check_reachable(url: str, timeout_s: float) -> None:
    """Connect once to the host and port of `url` and hang up.

    Raises:
        SourceError: unknown host, refused, no answer within `timeout_s` seconds, or a URL without a host.
    """
    shown = shown_source(url)
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port or _PORTS[parts.scheme.lower()]
    except ValueError:
        raise SourceError(f"{shown}: not a valid URL") from None
    if not host:
        raise SourceError(f"{shown}: no host in this URL")
    if _proxied(parts):
        return  # only the proxy can reach it
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except (socket.gaierror, UnicodeError):
        raise SourceError(f"{shown}: host not found", "check the name and the network") from None
    except ConnectionRefusedError:
        raise SourceError(f"{shown}: connection refused at port {port}", "is the server running?") from None
    except TimeoutError:
        raise SourceError(f"{shown}: no answer at port {port} within {timeout_s:g} s") from None
    except OSError as error:
        raise SourceError(f"{shown}: cannot reach port {port} ({error.strerror or error})") from None


def why_list(head: bytes) -> str | None:
    """Why the file that starts so is refused: it would make FFmpeg open other files or addresses; None: it is none."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, kind in _LISTS.items():
        if text.startswith(start) or (start == b"<MPD" and text.startswith(b"<?xml") and start in text):
            return f"{kind}, not a video; give the videos or addresses in it instead"
    return None


def why_unreadable(uri: str, timeout_s: float, options: Options) -> str | None:
    """A few words on why nothing can be decoded from a file or URL; None where nothing is wrong that FFmpeg sees.

    options: FFmpeg's, as OpenCV is given them.
    """
    import av  # 15 MiB that a run without files and without trouble does not need

    limit_allocations()
    try:
        with av.open(uri, timeout=timeout_s, options={**options, "max_pixels": str(MAX_PIXELS)}) as container:
            if not container.streams.video:
                return "it has no video stream"
            return too_large(max((s.width, s.height) for s in container.streams.video))
    except av.error.HTTPUnauthorizedError:
        return "the server refuses the user name or password (401)"
    except av.error.ExitError:
        return f"no video within {timeout_s:g} s"
    except (av.error.FFmpegError, OSError) as error:
        if moved := _redirect(uri, timeout_s):
            return f"the server redirects to another address, which is not followed: give {shown_source(moved)}"
        if isinstance(error, av.error.ArgumentError) and "format_whitelist" in options:
            if uri.startswith("rtsp"):
                return "the server offers no stream of its own; a redirect to another address is not followed"
            return "its content is not in a video format that is read here"
        known = error.strerror or os.strerror(error.errno or 0)
        return known[:1].lower() + known[1:]
    except Exception as error:  # a diagnosis must never hide the failure it explains
        return type(error).__name__


def too_large(size: tuple[int, int]) -> str | None:
    """Why frames of that width and height are refused; None where they are not."""
    if size[0] * size[1] <= MAX_PIXELS:
        return None
    return f"frames of {size[0]}x{size[1]} pixels; at most {MAX_PIXELS / 1e6:.0f} megapixels (8192x4320) are decoded"


def _proxied(parts: urllib.parse.SplitResult) -> bool:
    host = parts.hostname or ""
    return parts.scheme.lower() in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def _redirect(url: str, timeout_s: float) -> str | None:
    """Where the server at an http or https URL sends us instead; None where it does not."""
    if not url.startswith("http") or _proxied(urllib.parse.urlsplit(url)):
        return None
    try:
        return web.get(url, timeout_s, 0).moved
    except Exception:  # a diagnosis must never hide the failure it explains
        return None

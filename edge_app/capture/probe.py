"""Diagnoses why a stream or video cannot be opened."""

import errno
import socket
import urllib.parse
import urllib.request

from edge_app.capture import web
from edge_app.capture.ffmpeg import MAX_PIXELS, Options
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


def why_not_opened(error: Exception, uri: str, options: Options, timeout_s: float = 3.0) -> str:
    """A few words on why FFmpeg has not opened a file or URL.

    error: what PyAV has raised. options: those that it was given. timeout_s: for a question to the server.
    """
    import av.error

    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "the server refuses the user name or password (401)"
    if moved := _redirect(uri, timeout_s):
        return f"the server redirects to another address, which is not followed: give {shown_source(moved)}"
    if isinstance(error, av.error.ArgumentError) and "format_whitelist" in options:
        if uri.startswith("rtsp"):
            return "the server offers no stream of its own; a redirect to another address is not followed"
        return "its content is not in a video format that is read here"
    if isinstance(error, av.error.InvalidDataError | av.error.EOFError) or getattr(error, "errno", None) == errno.EIO:
        return f"{reason(error)}: it is damaged, or cut off, or no video"
    return reason(error)


def reason(error: Exception) -> str:
    """What FFmpeg says is wrong, without the name of the file or URL."""
    known = getattr(error, "strerror", None) or type(error).__name__
    return known[:1].lower() + known[1:]


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

"""Says in words why a stream or video cannot be opened; OpenCV only answers no."""

import os
import socket
import urllib.parse
import urllib.request

from edge_app.errors import SourceError
from edge_app.redact import shown_source

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


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
    if parts.scheme.lower() in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # only the proxy can reach it
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except (socket.gaierror, UnicodeError):
        raise SourceError(f"{shown}: host not found: check the name and the network") from None
    except ConnectionRefusedError:
        raise SourceError(f"{shown}: connection refused at port {port}: is the server running?") from None
    except TimeoutError:
        raise SourceError(f"{shown}: no answer at port {port} within {timeout_s:g} s") from None
    except OSError as error:
        raise SourceError(f"{shown}: cannot reach port {port} ({error.strerror or error})") from None


def why_unreadable(uri: str, timeout_s: float, options: dict[str, str] | None = None) -> str:
    """A few words on why nothing can be decoded from a file or URL that OpenCV could not open."""
    import av  # 15 MiB that a run without trouble and without a video does not need

    try:
        with av.open(uri, timeout=timeout_s, options=options or {}) as container:
            if not container.streams.video:
                return "it has no video stream"
            return "its video cannot be decoded"
    except av.error.HTTPUnauthorizedError:
        return "the server refuses the user name or password (401)"
    except av.error.ExitError:
        return f"no video within {timeout_s:g} s"
    except (av.error.FFmpegError, OSError) as error:
        known = error.strerror or os.strerror(error.errno or 0)
        return known[:1].lower() + known[1:]
    except Exception as error:  # a diagnosis must never hide the failure it explains
        return type(error).__name__

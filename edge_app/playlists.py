"""HLS: takes the address of a playlist, and refuses one that would make FFmpeg call another server.

FFmpeg fetches whatever a playlist names, on any host and port, so the list is read first. A server can still change
its list later: this protects from lists that are wrong, and does not make a hostile server harmless.
"""

import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from edge_app.errors import SourceError, first_line
from edge_app.redact import redact, shown_source

_MAX_BYTES = 1 << 20  # a playlist of a day of segments has a few hundred kB
_MAX_LISTS = 20  # a stream comes in a handful of qualities
_URI = re.compile(r'URI="([^"]*)"')


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def check_playlist(url: str, timeout_s: float) -> None:
    """Read the playlist at `url` and those it names; what is no playlist is left to FFmpeg.

    Raises:
        SourceError: it cannot be read, or names an address of another scheme, host or port.
    """
    waiting, seen = [url], {url}
    while waiting:
        current = waiting.pop()
        text = _fetch(current, timeout_s)
        if not text.startswith("#EXTM3U"):
            continue
        for line in map(str.strip, text.splitlines()):
            named = _URI.findall(line) if line.startswith("#") else [line] if line else []
            for address in (urllib.parse.urljoin(_bare(current), name) for name in named):
                if _origin(address) != _origin(url):
                    raise SourceError(
                        f"{shown_source(url)}: its playlist names another server, {redact(address)[:200]}; "
                        "only what comes from the server asked for is played"
                    )
                if "m3u8" in address and address not in seen and len(seen) < _MAX_LISTS:
                    seen.add(address)
                    waiting.append(address)


def _fetch(url: str, timeout_s: float) -> str:
    parts = urllib.parse.urlsplit(url)
    opener = urllib.request.build_opener(_NoRedirect())
    if parts.username:
        logins = urllib.request.HTTPPasswordMgrWithPriorAuth()
        user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
        logins.add_password(None, _bare(url), user, password, is_authenticated=True)
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(logins))
    try:
        with opener.open(_bare(url), timeout=timeout_s) as answer:
            content: bytes = answer.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        where = error.headers.get("Location")
        moved = f", to {redact(urllib.parse.urljoin(_bare(url), where))}: give that address" if where else ""
        raise SourceError(f"{shown_source(url)}: cannot be opened: {error.code} {error.reason}{moved}") from None
    except Exception as error:  # urllib and http.client raise many types for what a server can do wrong
        raise SourceError(f"{shown_source(url)}: cannot be opened: {first_line(error)}") from None
    if len(content) > _MAX_BYTES:
        raise SourceError(f"{shown_source(url)}: a playlist of more than {_MAX_BYTES >> 20} MiB is not read")
    return content.decode("utf-8", "replace").lstrip("\ufeff")


def _bare(url: str) -> str:
    """The URL without its login."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return url, None, None

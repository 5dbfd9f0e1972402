"""HLS: takes the address of a playlist, and refuses one that would make FFmpeg call another server.

FFmpeg fetches whatever a playlist names, on any host and port, so the list is read first. A server can still change
its list later: this protects from lists that are wrong, and does not make a hostile server harmless.
"""

import re
import time
import urllib.parse
from collections.abc import Iterator

from edge_app.capture import web
from edge_app.errors import SourceError, first_line
from edge_app.redact import redact, shown_source

_MAX_BYTES = 1 << 20  # a playlist of a day of segments has a few hundred kB
_MAX_LISTS = 20  # a stream comes in a handful of qualities, and FFmpeg opens each of them
_URI = re.compile(r'URI=(?:"((?:[^"\\]|\\.)*)|([^\s,"][^\s,]*))')  # FFmpeg takes one without quotes too


def check_playlist(url: str, timeout_s: float) -> None:
    """Read the playlist at `url` and those it names; what is no playlist is left to FFmpeg.

    Raises:
        SourceError: it cannot be read within that time, names an address of another scheme, host or port, or too many
            playlists.
    """
    deadline = time.monotonic() + timeout_s
    waiting, seen = [url], {url}
    while waiting:
        current = waiting.pop()
        for name in _named(_fetch(current, deadline)):
            try:
                address = urllib.parse.urljoin(web.without_login(current), name)
            except ValueError:
                raise SourceError(f"{shown_source(url)}: its playlist names what is no address") from None
            if _origin(address) != _origin(url):
                raise SourceError(
                    f"{shown_source(url)}: its playlist names another server, {redact(address)[:200]}; "
                    "only what comes from the server asked for is played"
                )
            if "m3u8" in address and address not in seen:
                seen.add(address)
                waiting.append(address)
                if len(seen) > _MAX_LISTS:
                    raise SourceError(f"{shown_source(url)}: its playlist names more than {_MAX_LISTS} others")


def _named(playlist: str) -> Iterator[str]:
    """What a playlist names, as FFmpeg reads it."""
    if not playlist.startswith("#EXTM3U"):
        return
    for line in map(str.strip, playlist.replace("\0", "\n").splitlines()):
        if line.startswith("#"):
            yield from (re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in _URI.findall(line))
        elif line:
            yield line


def _fetch(url: str, deadline: float) -> str:
    shown = shown_source(url)
    try:
        answer = web.get(url, max(0.1, deadline - time.monotonic()), _MAX_BYTES + 1)
    except Exception as error:  # urllib and http.client raise many types for what a server can do wrong
        raise SourceError(f"{shown}: cannot be opened: {first_line(error)}") from None
    if answer.status[:1] != "2":
        moved = f", to {redact(answer.moved)}: give that address" if answer.moved else ""
        raise SourceError(f"{shown}: cannot be opened: {answer.status}{moved}")
    if len(answer.content) > _MAX_BYTES:
        raise SourceError(f"{shown}: a playlist of more than {_MAX_BYTES >> 20} MiB is not read")
    if answer.packed:  # was not requested, and FFmpeg would unpack it
        raise SourceError(f"{shown}: a compressed playlist is not read")
    return answer.content.decode("utf-8", "replace").lstrip("\ufeff")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return url, None, None

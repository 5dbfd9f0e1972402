"""One bounded HTTP request: takes a URL, gives the response; redirects are not followed."""

import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """status: such as `404 Not Found`. moved: where a redirect leads. packed: whether `content` is compressed."""

    status: str
    moved: str | None
    packed: bool
    content: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class _Sockets(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens http and https, and can be aborted: a socket timeout restarts with every byte."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: list[socket.socket] = []

    def do_open(self, http_class: Any, req: urllib.request.Request, **arguments: Any) -> Any:
        opened = self._opened

        class Connection(http_class):  # type: ignore[misc]
            def connect(self) -> None:
                super().connect()
                opened.append(self.sock)

        return super().do_open(Connection, req, **arguments)

    def hang_up(self) -> None:
        for each in self._opened:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def get(url: str, timeout_s: float, most: int) -> Answer:
    """GET `url`, with the login in it, and read `most` bytes of the response.

    Raises:
        TimeoutError: the response was not complete in time.
        Exception: of many types, for what a server can do wrong.
    """
    deadline, sockets = time.monotonic() + timeout_s, _Sockets()
    opener = urllib.request.build_opener(sockets, _NoRedirect())
    parts, address = urllib.parse.urlsplit(url), without_login(url)
    if parts.username or parts.password:
        logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
        logins.add_password(None, address, user, password)  # sent once asked for, and not as Basic where Digest is
        opener.add_handler(urllib.request.HTTPBasicAuthHandler(logins))
        opener.add_handler(urllib.request.HTTPDigestAuthHandler(logins))  # which many cameras ask for
    timer = threading.Timer(timeout_s, sockets.hang_up)
    timer.start()
    try:
        with opener.open(address, timeout=timeout_s) as answer:
            packed = answer.headers.get("Content-Encoding", "identity").lower() != "identity"
            result = Answer(f"{answer.status} {answer.reason}", None, packed, answer.read(most))
    except urllib.error.HTTPError as error:
        error.close()
        where = error.headers.get("Location") if 300 <= error.code < 400 else None
        moved = urllib.parse.urljoin(address, where) if where else None
        result = Answer(f"{error.code} {error.reason}", moved, False, b"")
    except (OSError, http.client.HTTPException):  # after `hang_up` a reply breaks off in one of these ways
        if time.monotonic() < deadline:
            raise
    finally:
        timer.cancel()
    if time.monotonic() >= deadline:  # what has come may be a part of it
        raise TimeoutError(f"no whole answer within {timeout_s:g} s")
    return result


def without_login(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

"""A small HTTP server that answers GET and HEAD, made to stand in a network: everything a client can take is bounded.

A request is answered only if its Host is one by which this server can honestly be known. A web page that somebody
visits could else read us through a name of its own that it points at our address (DNS rebinding).
"""

import contextlib
import io
import ipaddress
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

Answer = tuple[int, str, bytes]  # status, content type, body

MAX_CLIENTS = 16  # at a time
MAX_HEAD = 8192  # bytes of a request: its line and headers
CLIENT_S = 5.0  # for a request to come in, and for the answer to be taken
_PLAIN = "text/plain; charset=utf-8"

log = logging.getLogger(__name__)


class HttpServer(socketserver.ThreadingTCPServer):
    """Listens once constructed, serves in `serve_forever`.

    Args:
        host, port: where to listen.
        answer: gives what a path holds; called from many threads.

    Raises (on construction):
        OSError: nothing can listen there.
    """

    # Not http.server's: it asks the name service for this machine's name, which can take seconds.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 2 * MAX_CLIENTS

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host, self.answer = host, answer
        self._free = threading.BoundedSemaphore(MAX_CLIENTS)
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """As inherited, in a thread of its own; one client too many is sent away at once."""
        if not self._free.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news, and stderr belongs to the run; a fault of ours is logged."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.warning("metrics: a request could not be answered (%r)", error)

    def knows(self, host: str) -> bool:
        """Whether a request for this host, of a Host header, can be meant for us."""
        name = _name(host)
        if name in {"localhost", _name(self.host)}:
            return True
        address, bound = _address(name), _address(_name(self.host))
        if (bound is not None and bound.is_loopback) or self.host == "localhost":
            return address is not None and address.is_loopback
        # Open to a network: a page on the internet has no name without a dot, and no .local one.
        return address is not None or "." not in name.removesuffix(".local")


class _Handler(BaseHTTPRequestHandler):
    server: HttpServer
    timeout = CLIENT_S
    server_version, sys_version = "edge-app", ""
    default_request_version = "HTTP/1.0"  # of a line that cannot be read; HTTP/0.9 would have no status

    def handle(self) -> None:
        """One request a connection, read whole before it is looked at: a client must not send it drop by drop."""
        head = self._read_head(time.monotonic() + CLIENT_S)
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.close_connection = True
        if len(head) > MAX_HEAD:
            self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
            self.send_error(431)
        elif head:
            self.handle_one_request()

    def _read_head(self, deadline: float) -> bytes:
        head = b""
        while len(head) <= MAX_HEAD and b"\r\n\r\n" not in head and b"\n\n" not in head:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = self.connection.recv(1024)
            if not part:
                break
            head += part
        self.connection.settimeout(CLIENT_S)
        return head

    def do_GET(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) > 1 or (not hosts and self.request_version != "HTTP/1.0"):
            self._send((400, _PLAIN, b"one Host header is needed\n"))
        elif hosts and not self.server.knows(hosts[0]):
            self._send((421, _PLAIN, b"not known by this host name: use the IP address, or set metrics.host to it\n"))
        else:
            self._send(self.server.answer(self.path.partition("?")[0]))

    do_HEAD = do_GET

    def _send(self, answer: Answer) -> None:
        status, kind, body = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 405:
            self.send_header("Allow", "GET, HEAD")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """In plain text, quoting nothing of the request. A method we do not have is one that is not allowed."""
        code = 405 if code == 501 else code
        self._send((code, _PLAIN, f"{self.responses.get(code, ('bad request',))[0]}\n".encode()))

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes come every few seconds; stderr belongs to the run."""


def _name(host: str) -> str:
    """A Host header's name or address in lower case, without port and brackets."""
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.count(":") > 1 else text.partition(":")[0].removesuffix(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None

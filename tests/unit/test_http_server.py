"""The HTTP server against clients of all kinds: by which names it is known, and what one client can take from it."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_app.monitor import http_server
from edge_app.monitor.http_server import MAX_CLIENTS, MAX_HEAD, HttpServer


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[HttpServer]:
    with HttpServer(host, 0, lambda path: (200, "text/plain", f"at {path}".encode())) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)


def talk(server: HttpServer, request: bytes) -> bytes:
    """What comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=30) as client:
        answer = b""
        with contextlib.suppress(ConnectionError):  # sent away before it had spoken
            client.sendall(request)
            while part := client.recv(4096):
                answer += part
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("bound", "host", "known"),
    [
        ("127.0.0.1", "127.0.0.1:9464", True),
        ("127.0.0.1", "localhost:9464", True),
        ("127.0.0.1", "LOCALHOST.", True),
        ("127.0.0.1", "[::1]:9464", True),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "192.168.1.5", False),
        ("127.0.0.1", "door", False),
        ("127.0.0.1", "rebind.attacker.example:9464", False),
        ("127.0.0.1", "127.0.0.1.attacker.example", False),
        ("127.0.0.1", "localhost.attacker.example", False),
        ("127.0.0.1", "", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "attacker.example", False),
        ("0.0.0.0", "192.168.1.5:9464", True),
        ("0.0.0.0", "[fe80::1]", True),
        ("0.0.0.0", "edge-app:9464", True),
        ("0.0.0.0", "door.local:9464", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "attacker.example", False),
        ("0.0.0.0", "a.b.local", False),
    ],
)
def test_only_its_own_names_are_answered(bound: str, host: str, known: bool) -> None:
    with serving(bound) as server:
        answer = talk(server, f"GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert status(answer) == (200 if known else 421)
    assert answer.endswith(b"at /x") == known
    assert b"attacker" not in answer


def test_a_name_that_was_configured_is_known() -> None:
    with serving() as server:
        server.host = "cam.example.org"
        assert server.knows("cam.example.org:9464")
        assert not server.knows("other.example.org")


def test_the_host_must_be_said_once() -> None:
    with serving() as server:
        assert status(talk(server, b"GET / HTTP/1.1\r\n\r\n")) == 400
        assert status(talk(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n")) == 400
        assert status(talk(server, b"GET / HTTP/1.0\r\n\r\n")) == 200


def test_head_is_get_without_its_body_and_nothing_else_is_allowed() -> None:
    with serving() as server:
        whole = talk(server, b"GET /x HTTP/1.0\r\n\r\n")
        head = talk(server, b"HEAD /x HTTP/1.0\r\n\r\n")
        refused = [
            talk(server, f"{method} /x HTTP/1.0\r\n\r\n".encode())
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")
        ]
    assert whole.endswith(b"\r\n\r\nat /x")
    assert head.endswith(b"\r\n\r\n")
    assert b"Content-Length: 5\r\n" in whole
    assert b"Content-Length: 5\r\n" in head
    assert [status(answer) for answer in refused] == [405] * 7
    assert all(b"Allow: GET, HEAD\r\n" in answer for answer in refused)


def test_it_does_not_tell_what_it_is_made_of() -> None:
    with serving() as server:
        answers = [talk(server, b"GET / HTTP/1.0\r\n\r\n"), talk(server, b"GET <script> nonsense x\r\n\r\n")]
    for answer in answers:
        assert b"\r\nServer: edge-app\r\n" in answer
        assert b"Python" not in answer
        assert b"script" not in answer
    assert status(answers[1]) == 400


def test_a_request_is_bounded() -> None:
    line = b"GET / HTTP/1.0\r\nX: "
    with serving() as server:
        assert status(talk(server, line + b"a" * (MAX_HEAD - len(line) - 4) + b"\r\n\r\n")) == 200
        assert status(talk(server, line + b"a" * (MAX_HEAD + 1024 - len(line)))) == 431
        assert status(talk(server, b"GET /" + b"a" * (MAX_HEAD + 1024 - 5))) == 431


def test_a_client_that_sends_drop_by_drop_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CLIENT_S", 0.2)
    with serving() as server, socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=30) as client:
        client.settimeout(0.05)
        for _ in range(600):  # each drop comes sooner than the timeout
            try:
                client.sendall(b"X")
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still listening after 30 s of drops")


def test_too_many_clients_are_told_so_and_the_next_ones_are_served() -> None:
    with serving() as server:
        place = ("127.0.0.1", server.server_address[1])
        with contextlib.ExitStack() as stack:
            mute = [stack.enter_context(socket.create_connection(place, timeout=30)) for _ in range(MAX_CLIENTS)]
            answer = b""
            while b" 503 " not in answer:  # the last of them may not be accepted yet
                answer = talk(server, b"GET / HTTP/1.0\r\n\r\n")
            assert b"Retry-After" in answer
            for client in mute:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert {status(client.recv(4096)) for client in mute} == {200}
        while b" 200 " not in answer:
            answer = talk(server, b"GET / HTTP/1.0\r\n\r\n")

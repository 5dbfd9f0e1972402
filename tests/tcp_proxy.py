"""A bad network for the tests: a TCP proxy on loopback that delays, swallows and cuts what a server sends."""

import contextlib
import socket
import struct
import threading
import time
from collections import deque
from typing import Self

_CHUNK = 4096
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a reset


class TcpProxy:
    """Stands between clients and `127.0.0.1:target`; a context manager.

    port: where clients connect. delay_s: how long the server's bytes stay on their way. swallow: while set, what the
    server sends is lost, and a connection that lost something never carries anything again, though it stays open.
    replaced: what to put in the place of what, in the server's bytes.
    """

    def __init__(self, target: int, delay_s: float = 0.0, replaced: tuple[bytes, bytes] = (b"", b"")) -> None:
        self._target, self.delay_s, self.swallow, self._replaced = target, delay_s, False, replaced
        self._closing = False
        self.forwarded = 0  # bytes of the server that have reached a client
        self._cut_at: int | None = None
        self.losing = 0  # bytes still to be left out
        self._lock = threading.Lock()
        self._clients: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def cut(self, after_bytes: int) -> None:
        """Reset the connection once so many more bytes have passed: in the middle of a packet, and of a picture."""
        with self._lock:
            self._cut_at = self.forwarded + after_bytes

    def lose(self, count: int) -> None:
        """Leave out the next `count` bytes and go on after them."""
        with self._lock:
            self.losing = count

    def half_close(self) -> None:
        """Tell the clients that nothing more will come, and still listen to them."""
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone would not
        self._listener.close()
        with self._lock:
            for client in self._clients:
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()  # the server is down, and this is how a client sees it
                continue
            with self._lock:
                self._clients.append(client)
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_CHUNK):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes the other direction, which closes both

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        """The server's bytes, each chunk when it is due; what comes meanwhile waits its own time, not the sum."""
        on_their_way: deque[tuple[float, bytes]] = deque()
        arrived = threading.Condition()

        def receive() -> None:
            try:
                while data := server.recv(_CHUNK):
                    if self._replaced[0]:
                        data = data.replace(*self._replaced)
                    with arrived:
                        on_their_way.append((time.monotonic() + self.delay_s, data))
                        arrived.notify()
            except OSError:
                pass
            with arrived:
                on_their_way.append((0.0, b""))
                arrived.notify()

        threading.Thread(target=receive, daemon=True).start()
        lost = False
        with contextlib.suppress(OSError):
            while True:
                with arrived:
                    arrived.wait_for(lambda: on_their_way)
                    due, data = on_their_way.popleft()
                if not data:
                    break
                time.sleep(max(0.0, due - time.monotonic()))
                lost = lost or self.swallow
                if not lost and not self._pass(client, data):
                    break
        with self._lock:
            self._clients.remove(client)
        # Both wake the thread that still reads there. No SHUT_WR for the client: a reset comes without a farewell.
        for end, how in ((client, socket.SHUT_RD), (server, socket.SHUT_RDWR)):
            with contextlib.suppress(OSError):
                end.shutdown(how)
            end.close()

    def _pass(self, client: socket.socket, data: bytes) -> bool:
        with self._lock:
            lost, data = data[: self.losing], data[self.losing :]
            self.losing -= len(lost)
            part = data if self._cut_at is None else data[: max(0, self._cut_at - self.forwarded)]
            cut = len(part) < len(data)
            if cut:
                self._cut_at = None
            self.forwarded += len(part)
        client.sendall(part)
        if cut:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return not cut

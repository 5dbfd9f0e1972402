"""A camera for the tests: a live H.264 stream over RTSP, each picture carrying the time at which it was made.

Runs under the system's Python, which has GStreamer's bindings and no NumPy; nothing of edge_app is imported here.
Prints `ready PORT`, then obeys lines on stdin, and ends with stdin:

    pause | resume      no pictures, with every connection left open; pictures again
    size WxH | fps N    the size of the pictures from now on, or their rate, in streams that already play too
    mount | unmount     offer the stream, or answer 404 to whoever asks for it
"""

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PATH = "/live"
PER_ROW, ROWS = 20, 2  # blocks of the time stamp: 32 bits of milliseconds, 8 of a check sum
_BLACK, _WHITE = 16, 235
_LAUNCH = (
    "( appsrc name=pictures is-live=true format=time do-timestamp=true block=false max-bytes=20000000"
    " ! videoconvert ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={fps} bitrate=2000"
    " ! video/x-h264,profile=baseline ! rtph264pay name=pay0 pt=96 config-interval=-1 )"
)

_ELEMENTS = ("appsrc", "videoconvert", "x264enc", "rtph264pay", "rtpbin")  # what it takes


def stamp_bits(milliseconds: int) -> list[int]:
    """The blocks of a moment, most significant bit first. The check sum of all zeros is not zero: black is no time."""
    data = (milliseconds & 0xFFFFFFFF).to_bytes(4, "big")
    data += bytes([sum(data) & 0xFF ^ 0xA5])
    return [byte >> bit & 1 for byte in data for bit in range(7, -1, -1)]


class Painter:
    """I420 pictures of one size: two rows of blocks above a slope of grey that moves, so that every picture differs.

    still: an I420 picture of that size to show below the blocks in place of the slope.
    """

    def __init__(self, width: int, height: int, still: bytes = b"") -> None:
        self._cell, self._width = width // PER_ROW, width
        self._rest = height - ROWS * self._cell
        self._still = still[ROWS * self._cell * width :] if len(still) == width * height * 3 // 2 else b""
        self._slope = bytes(60 + column * 120 // width for column in range(width)) * 2
        self._colour = bytes([128]) * (width * height // 2)
        self._step = 0

    def paint(self, milliseconds: int) -> bytes:
        bits = stamp_bits(milliseconds)
        rows = []
        for start in range(0, len(bits), PER_ROW):
            line = b"".join(bytes([_WHITE if b else _BLACK]) * self._cell for b in bits[start : start + PER_ROW])
            rows.append(line.ljust(self._width, bytes([_BLACK])) * self._cell)
        if self._still:
            return b"".join([*rows, self._still])
        self._step = (self._step + 4) % self._width
        return b"".join([*rows, self._slope[self._step : self._step + self._width] * self._rest, self._colour])


class Camera:
    """Paints in a thread of its own, `fps` pictures a second, into every stream that plays."""

    def __init__(self, size: str, fps: int, still: bytes) -> None:
        self._still, self._lock = still, threading.Lock()
        self._streams: list[Any] = []
        self._seeing = threading.Event()
        self._seeing.set()
        self.change(size, fps)
        threading.Thread(target=self._film, daemon=True).start()

    def change(self, size: str | None = None, fps: int | None = None) -> None:
        self._size, self._fps = size or self._size, fps or self._fps
        width, height = map(int, self._size.split("x"))
        caps = f"video/x-raw,format=I420,width={width},height={height},framerate={self._fps}/1"
        with self._lock:
            self._painter, self._caps = Painter(width, height, self._still), Gst.Caps.from_string(caps)
            for source in self._streams:
                source.set_property("caps", self._caps)

    def pause(self, paused: bool) -> None:
        if paused:
            self._seeing.clear()
        else:
            self._seeing.set()

    def add(self, _factory: Any, media: Any) -> None:
        source = media.get_element().get_by_name_recurse_up("pictures")
        with self._lock:
            source.set_property("caps", self._caps)
            self._streams.append(source)
        media.connect("unprepared", self._remove, source)

    def _remove(self, _media: Any, source: Any) -> None:
        with self._lock:
            self._streams = [other for other in self._streams if other is not source]

    def _film(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + 1 / self._fps, time.monotonic() - 0.2)  # a late picture is not made up for by a burst
            time.sleep(max(0.0, due - time.monotonic()))
            self._seeing.wait()
            with self._lock:
                if self._streams:
                    picture = self._painter.paint(time.monotonic_ns() // 1_000_000)
                    for source in self._streams:
                        source.emit("push-buffer", Gst.Buffer.new_wrapped(picture))


def _factory(camera: Camera, fps: int, locked: bool) -> Any:
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_LAUNCH.format(fps=fps))
    factory.set_shared(True)
    factory.connect("media-configure", camera.add)
    if locked:
        rights = GstRtspServer.RTSPPermissions()
        for what in ("media.factory.access", "media.factory.construct"):
            rights.add_permission_for_role("viewer", what, True)
        factory.set_permissions(rights)
    return factory


def _lock(server: Any, login: str) -> None:
    auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login.split(":", 1)), token)
    server.set_auth(auth)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", default="0")
    parser.add_argument("--size", default="320x240", metavar="WxH")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--login", metavar="USER:PASSWORD")
    parser.add_argument("--still", type=Path, metavar="FILE", help="raw I420 picture of that size")
    parser.add_argument("--unmounted", action="store_true")
    parser.add_argument("--check", action="store_true", help="only say what is missing, if anything")
    args = parser.parse_args()
    Gst.init(None)
    if args.check:
        missing = [name for name in _ELEMENTS if not Gst.ElementFactory.find(name)]
        sys.exit(f"GStreamer has no {', '.join(missing)}" if missing else 0)
    camera = Camera(args.size, args.fps, args.still.read_bytes() if args.still else b"")
    server, loop = GstRtspServer.RTSPServer(), GLib.MainLoop()
    server.set_address("127.0.0.1")
    server.set_service(args.port)
    pool = GstRtspServer.RTSPThreadPool()
    pool.set_max_threads(8)  # a client that waits for a paused picture must not hold up the next one
    server.set_thread_pool(pool)
    if args.login:
        _lock(server, args.login)

    def mount() -> None:
        server.get_mount_points().add_factory(PATH, _factory(camera, args.fps, bool(args.login)))

    if not args.unmounted:
        mount()
    if not server.attach(None):
        sys.exit(f"port {args.port} cannot be had")

    def obey() -> None:
        for line in sys.stdin:
            word, *rest = line.split()
            if word in ("pause", "resume"):
                camera.pause(word == "pause")
            elif word == "size":
                camera.change(size=rest[0])
            elif word == "fps":
                camera.change(fps=int(rest[0]))
            elif word == "mount":
                mount()
            elif word == "unmount":
                server.get_mount_points().remove_factory(PATH)
            print("done", word, flush=True)
        loop.quit()

    print("ready", server.get_bound_port(), flush=True)
    threading.Thread(target=obey, daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()

"""Capture through the real decoders: files, a real HTTP server, a server that says nothing, a real signal."""

import http.server
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from tests.media import Pixels, grey, write_clip

QUICK = SourceSettings(open_timeout_s=3, read_timeout_s=1, stall_timeout_s=1, reconnect_min_s=0.1, reconnect_max_s=0.3)


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    """A real HTTP server on loopback; gives its port. Ending it cuts no connection that is still open."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def multipart(pictures: Callable[[], Iterable[bytes]], step_s: float, after: Callable[[], object]) -> type[Quiet]:
    """A camera's stream of JPEG pictures over HTTP, one each `step_s` seconds; then it does what `after` does."""

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for data in pictures():
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")
                    time.sleep(step_s)
                after()
            except OSError:
                pass  # the reader has gone

    return Handler


def mjpeg(count: int, step_s: float, then_hang: threading.Event | None = None) -> type[Quiet]:
    """Such a stream of `count` pictures, then the end, or silence."""
    levels = [index % 200 + 20 for index in range(count)]
    return multipart(
        lambda: (cv2.imencode(".jpg", grey(level))[1].tobytes() for level in levels),
        step_s,
        lambda: then_hang and then_hang.wait(30),
    )


def test_a_clip_comes_whole_and_in_order_through_the_thread(tmp_path: Path, astronaut: Pixels) -> None:
    shifts = range(0, 120, 4)
    clip = write_clip(tmp_path / "a.mp4", [np.roll(astronaut, shift, axis=1) for shift in shifts])
    with FrameReader(parse_source(str(clip)), QUICK) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(30))
    for frame, shift in zip(frames, shifts, strict=True):
        difference = np.abs(frame.image.astype(int) - np.roll(astronaut, shift, axis=1)).mean()
        assert difference < 12
    assert frames[-1].time == pytest.approx(29 / 25, abs=0.002)


def test_a_video_on_a_web_server_is_a_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [grey(9 * i) for i in range(20)], movflags="faststart").read_bytes()

    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(len(clip)))
            self.end_headers()
            self.wfile.write(clip)

    with serving(Handler) as port, FrameReader(parse_source(f"http://127.0.0.1:{port}/a.mp4"), QUICK) as reader:
        assert not reader.info.live
        assert reader.info.frame_count == 20
        assert [frame.index for frame in reader] == list(range(20))


def test_a_camera_stream_over_http_is_live_and_stays_new() -> None:
    with serving(mjpeg(10_000, 0.02)) as port, FrameReader(parse_source(f"http://127.0.0.1:{port}/"), QUICK) as reader:
        assert reader.info.live
        assert (reader.info.width, reader.info.height) == (64, 48)
        levels = []
        for frame in reader:
            levels.append(float(frame.image.mean()))
            time.sleep(0.1)  # five times slower than the camera
            if len(levels) == 10:
                break
        assert reader.stats()["dropped_frames"] > 15
    # What is seen keeps pace with the camera: a queue would show the pictures 1, 2, 3 …
    assert np.mean(np.diff(levels)) == pytest.approx(5, abs=2)


def test_a_stream_that_ends_is_opened_again(caplog: pytest.LogCaptureFixture) -> None:
    with serving(mjpeg(15, 0.02)) as port:
        reader = FrameReader(parse_source(f"http://user:secret@127.0.0.1:{port}/"), QUICK)
        with caplog.at_level(logging.INFO), reader:
            frames = iter(reader)
            while reader.stats()["reconnects"] < 3:
                next(frames)
    assert "back after" in caplog.text
    assert "secret" not in caplog.text


def test_a_stream_that_falls_silent_is_reopened() -> None:
    hang = threading.Event()
    try:
        with serving(mjpeg(10, 0.02, then_hang=hang)) as port:
            with FrameReader(parse_source(f"http://127.0.0.1:{port}/"), QUICK) as reader:
                start = time.monotonic()
                for _ in reader:
                    if reader.stats()["reconnects"]:
                        break
                assert time.monotonic() - start < 8
            hang.set()
    finally:
        hang.set()


@pytest.mark.parametrize(("status", "says"), [(401, "401"), (404, "not found"), (500, "5XX|error")])
def test_what_the_web_server_answers_is_said(status: int, says: str) -> None:
    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_error(status)

    with serving(Handler) as port:
        reader = FrameReader(parse_source(f"http://user:secret@127.0.0.1:{port}/cam"), QUICK)
        with pytest.raises(SourceError, match=f"(?i){says}") as caught, reader:
            pass
    assert "secret" not in str(caught.value)


def test_a_server_that_accepts_and_says_nothing_is_an_error_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://user:secret@127.0.0.1:{silent.getsockname()[1]}/x"
        settings = SourceSettings(open_timeout_s=1, read_timeout_s=1)
        start = time.monotonic()
        with pytest.raises(SourceError, match="within 1 s") as caught, FrameReader(parse_source(url), settings):
            pass
    assert time.monotonic() - start < 7
    assert "secret" not in str(caught.value)


def test_a_signal_handler_can_stop_the_reader_while_it_waits() -> None:
    with serving(mjpeg(10_000, 0.3)) as port, FrameReader(parse_source(f"http://127.0.0.1:{port}/"), QUICK) as reader:
        before = signal.signal(signal.SIGUSR1, lambda *_: reader.stop())
        try:
            threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            start = time.monotonic()
            assert len(list(reader)) >= 1
            assert time.monotonic() - start < 2
        finally:
            signal.signal(signal.SIGUSR1, before)

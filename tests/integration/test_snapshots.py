"""Cameras whose picture is fetched again and again, from a real web server."""

import hashlib
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

import cv2
import pytest
from pydantic import SecretStr

from edge_app.capture.open import open_source, parse_source
from edge_app.capture.reader import FrameReader
from edge_app.capture.snapshots import MAX_BYTES
from edge_app.capture.source import Source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from tests.command import Running
from tests.integration.test_capture import Quiet, serving
from tests.media import Pixels, grey

QUICK = SourceSettings(every=0.1, open_timeout_s=3, read_timeout_s=1, stall_timeout_s=1, reconnect_min_s=0.05)


def jpeg(image: Pixels, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def opened(url: str, settings: SourceSettings = QUICK) -> Source:
    return open_source(parse_source(url), settings)


def camera(answer: Callable[[int], tuple[int, bytes]]) -> type[Quiet]:
    """answer: status and content of the picture of that number."""
    numbers = count()

    class Handler(Quiet):
        def do_GET(self) -> None:
            status, content = answer(next(numbers))
            self.send_response(status)
            self.send_header("ETag", '"same"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def test_a_picture_that_stays_the_same_is_a_frame_every_time() -> None:
    content = jpeg(grey(90))
    with serving(camera(lambda _: (200, content))) as port:
        with FrameReader(parse_source(f"http://127.0.0.1:{port}/snap.jpg"), QUICK) as reader:
            assert reader.info.live
            assert reader.info.fps == pytest.approx(10)
            frames = [frame for frame, _ in zip(reader, range(10), strict=False)]
        assert reader.stats()["reconnects"] == 0
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert (frames[-1].time - frames[0].time) / 9 == pytest.approx(0.1, abs=0.02)
    assert all(before.time < after.time for before, after in pairwise(frames))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_it_is_known_by_its_content(suffix: str) -> None:
    content = jpeg(grey(90), suffix)
    with serving(camera(lambda _: (200, content))) as port, opened(f"http://127.0.0.1:{port}/cgi?x=1") as source:
        assert (source.info.width, source.info.height) == (64, 48)


@pytest.mark.parametrize("bad", [(503, b""), (200, b"<html>log in</html>"), (200, jpeg(grey(90))[:200])])
def test_a_picture_that_fails_is_a_loss_and_it_comes_back(
    bad: tuple[int, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    good = 200, jpeg(grey(90))
    with serving(camera(lambda number: bad if 3 <= number < 6 else good)) as port:
        with FrameReader(parse_source(f"http://user:secret@127.0.0.1:{port}/snap.jpg"), QUICK) as reader:
            alarm = threading.Timer(10, reader.stop)
            alarm.start()
            for _ in reader:
                if reader.stats()["reconnects"]:
                    break
            alarm.cancel()
        assert reader.stats()["reconnects"] == 1
    assert caplog.text.count("; reconnecting") == 1
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (404, b"", "no picture: 404"),
        (401, b"", r"user name or password \(401\)"),
        (200, b"<html>log in</html>", "not a picture in any known format"),
        (200, bytes(MAX_BYTES + 1), "more than 32 MiB"),
    ],
)
def test_what_is_no_picture_is_one_line(status: int, content: bytes, says: str) -> None:
    with serving(camera(lambda _: (status, content))) as port, pytest.raises(SourceError, match=says) as caught:
        opened(f"http://user:secret@127.0.0.1:{port}/snap.jpg")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_redirect_is_named_and_not_followed() -> None:
    class Handler(Quiet):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:9/other.jpg")
            self.end_headers()

    with serving(Handler) as port, pytest.raises(SourceError, match=r"302 .*to http://127\.0\.0\.1:9/"):
        opened(f"http://127.0.0.1:{port}/snap.jpg")


def test_other_streams_are_refused() -> None:
    with pytest.raises(SourceError, match=r"source\.every is for pictures"):
        opened("rtsp://127.0.0.1:9/live")


def test_a_stop_ends_the_wait_for_the_next_picture() -> None:
    content = jpeg(grey(90))
    hourly = QUICK.model_copy(update={"every": 3600.0, "stall_timeout_s": 0.1})
    with serving(camera(lambda _: (200, content))) as port:
        with FrameReader(parse_source(f"http://127.0.0.1:{port}/snap.jpg"), hourly) as reader:
            threading.Timer(0.6, reader.stop).start()
            assert len(list(reader)) == 1
            began = time.monotonic()
        assert time.monotonic() - began < 1
    assert reader.stats()["reconnects"] == 0  # nobody has missed a picture


@pytest.mark.parametrize("password", ["plain", "a@b:c/d#e?f%g h"])
def test_digest_logins_are_answered(password: str) -> None:
    def hashed(*parts: str) -> str:
        return hashlib.md5(":".join(parts).encode()).hexdigest()  # as RFC 2617 asks for

    class Handler(Quiet):
        def do_GET(self) -> None:
            kind, _, rest = (self.headers.get("Authorization") or "").partition(" ")
            if kind == "Digest":
                said = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
                secret, method = hashed("viewer", "camera", password), hashed("GET", self.path)
                wanted = hashed(secret, "nonce", said["nc"], said["cnonce"], "auth", method)
                if said["response"] == wanted:
                    content = jpeg(grey(90))
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Digest realm="camera", nonce="nonce", qop="auth"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    settings = QUICK.model_copy(update={"username": "viewer", "password": SecretStr(password)})
    with serving(Handler) as port:
        with opened(f"http://127.0.0.1:{port}/snap.jpg", settings) as source:
            assert source.info.width == 64
        wrong = settings.model_copy(update={"password": SecretStr("wr0ng")})
        with pytest.raises(SourceError, match="401") as caught:
            opened(f"http://127.0.0.1:{port}/snap.jpg", wrong)
    assert "wr0ng" not in str(caught.value)


def test_a_single_picture_says_which_setting_makes_it_a_camera(caplog: pytest.LogCaptureFixture) -> None:
    content = jpeg(grey(90))
    with (
        serving(camera(lambda _: (200, content))) as port,
        FrameReader(parse_source(f"http://127.0.0.1:{port}/snap.jpg"), SourceSettings()) as reader,
    ):
        assert not reader.info.live
        assert len(list(reader)) == 1
    (line,) = caplog.messages
    assert "a single picture: source.every" in line


@pytest.mark.usefixtures("models")
def test_who_stands_before_a_snapshot_camera_is_judged(tmp_path: Path, astronaut: Pixels) -> None:
    content = jpeg(astronaut)
    with serving(camera(lambda _: (200, content))) as port:
        url = f"http://127.0.0.1:{port}/snap.jpg"
        every = ("--set", "source.every=0.25", "--max-frames", 12)
        with Running(tmp_path, "run", url, "--summary", "s.json", *every) as command:
            assert command.finish() == 0, command.err
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert (facts["persons"], facts["verdicts"]["no_mask"]) == (1, 1)

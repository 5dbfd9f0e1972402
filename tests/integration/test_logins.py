"""Logins from the settings at real servers that ask for one: over HTTP and RTSP, any password, and nothing shown."""

import base64
import itertools
import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from tests.command import Running
from tests.integration.test_capture import Quiet, mjpeg, serving
from tests.rtsp import camera

ODD = ["a@b:c/d#e?f%g h", "'\"`\\$&+=;!{}", "pässwörd 密码", " blank ", "100%41", "plain"]
FRAMES = mjpeg(10_000, 0.05)


def locked(username: str, password: str) -> type[Quiet]:
    """A camera over HTTP that shows its pictures to one user alone."""
    wanted = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()

    class Handler(FRAMES):  # type: ignore[misc, valid-type]
        def do_GET(self) -> None:
            if self.headers.get("Authorization") == wanted:
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()

    return Handler


def opens(url: str, username: str, password: str) -> None:
    settings = SourceSettings(username=username, password=SecretStr(password), open_timeout_s=10)
    with open_source(parse_source(url), settings) as source:
        assert source.info.live
        assert source.info.display == url
        assert source.read() is not None


@pytest.mark.parametrize("username", ["viewer", "j o@näme/"])
@pytest.mark.parametrize("password", ODD)
def test_a_camera_over_http_takes_it(username: str, password: str) -> None:
    with serving(locked(username, password)) as port:
        opens(f"http://127.0.0.1:{port}/video", username, password)


@pytest.mark.slow
@pytest.mark.parametrize("password", ODD[:4])
def test_a_camera_over_rtsp_takes_it(password: str) -> None:
    with camera(login=f"viewer:{password}") as server:
        opens(server.url(), "viewer", password)


@pytest.mark.slow
def test_rtsp_takes_the_longest_login_that_is_let_through() -> None:
    password = "x" * (127 - len("viewer:"))
    with camera(login=f"viewer:{password}") as server:
        opens(server.url(), "viewer", password)


def test_a_wrong_one_is_told_without_showing_it() -> None:
    settings = SourceSettings(username="viewer", password=SecretStr("Secr3tive"), open_timeout_s=10)
    with serving(locked("viewer", "other")) as port, pytest.raises(SourceError, match="401") as caught:
        open_source(parse_source(f"http://127.0.0.1:{port}/video"), settings)
    assert "Secr3tive" not in str(caught.value)


@pytest.mark.usefixtures("models")
def test_a_whole_run_with_a_password_from_a_file_writes_it_nowhere(tmp_path: Path) -> None:
    """Two cameras, one of which has a password of its own that is wrong."""
    secret = ODD[0]
    (tmp_path / "secret.txt").write_text(f"{secret}\n", encoding="utf-8")
    with serving(locked("viewer", secret)) as port:
        url = f"http://127.0.0.1:{port}/video"
        (tmp_path / "config.yaml").write_text(
            "source: {username: viewer, password_file: secret.txt, open_timeout_s: 5}\n"
            f"sources: [{{camera: door, uri: '{url}'}}, {{camera: gate, uri: '{url}', password: Wr0ngW0rd}}]\n"
            "output: {events: e.jsonl, summary: s.json}\n",
            encoding="utf-8",
        )
        with Running(tmp_path, "--debug", "run", "--max-frames", "40") as run:
            run.wait_until(lambda: "gate: " in run.err and "401" in run.err, "the wrong one is told")
            run.finish()
            said = run.out + run.err
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert facts["frames"] == 40
    files = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    written = [text for name, text in files.items() if name not in ("config.yaml", "secret.txt")]
    forms = (secret, "a%40b", "Wr0ngW0rd", base64.b64encode(f"viewer:{secret}".encode()).decode())
    for text, form in itertools.product([said, *written], forms):
        assert form not in text

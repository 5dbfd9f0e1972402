"""Credentials in the whole program: what every command and every file of a run shows of them."""

import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.command import COMMAND, Running, environment
from tests.integration.test_capture import mjpeg, serving

SECRETS = ("Secr3tive", "tok3n5678")


def command(folder: Path, uri: str, *arguments: str) -> tuple[int, str]:
    result = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=environment(EDGE_APP__SOURCE__URI=uri),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://admin:P@Secr3tive#1@127.0.0.1/s1",
        "rtsp://admin:p@Secr3tive/word@127.0.0.1/s1",
        "rtsp://admin:12#Secr3tive@127.0.0.1/x",
        "rtsp://admin:pass Secr3tive@127.0.0.1/x",
        "rtsp:/admin:Secr3tive@127.0.0.1/x",
        "admin:Secr3tive@127.0.0.1/x",
    ],
)
def test_the_wrong_form_is_a_usage_error_that_asks_for_percent_encoding(tmp_path: Path, uri: str) -> None:
    code, text = command(tmp_path, uri, "--debug", "run", "--summary", "s.json")
    assert code == 2
    assert "%XX" in text
    assert "Secr3tive" not in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://127.0.0.1:9/user=admin_password=Secr3tive_channel=1.sdp", "rtsp://127.0.0.1:9/***"),
        ("http://127.0.0.1:9/cgi?usr=admin&pass=Secr3tive", "http://127.0.0.1:9/cgi?***"),
        ("rtsp://admin:Secr3tive@127.0.0.1:9/stream1", "rtsp://***@127.0.0.1:9/stream1"),
        ("rtspsrc location=rtsp://u:Secr3tive@127.0.0.1:9 user-pw=tok3n5678 ! appsink", "rtspsrc ! appsink"),
    ],
)
def test_a_source_that_does_not_open_is_named_without_them(tmp_path: Path, uri: str, shown: str) -> None:
    code, text = command(tmp_path, uri, "--debug", "run")
    assert code == 4
    assert f"error: {shown}: " in text
    assert "Traceback" in text
    assert not any(secret in text for secret in SECRETS)


def test_a_whole_run_writes_none(models: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics_port = free.getsockname()[1]
    with serving(mjpeg(10_000, 0.05)) as port:
        uri = f"http://admin:Secr3tive@127.0.0.1:{port}/live?auth=tok3n5678"
        outputs = "output: {events: e.jsonl, summary: s.json}"
        (tmp_path / "config.yaml").write_text(
            f"source: {{uri: '{uri}'}}\n{outputs}\nmetrics: {{port: {metrics_port}}}\n"
        )
        with Running(tmp_path, "--debug", "run") as run:
            run.wait_until(lambda: "frame " in run.err, "it tells of its frames")
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=30) as answer:
                metrics = answer.read().decode()
            assert run.finish(signal.SIGTERM) == 0
            said = run.out + run.err
    assert json.loads((tmp_path / "s.json").read_text())["source"] == f"http://***@127.0.0.1:{port}/live?***"
    assert f"http://***@127.0.0.1:{port}/live?***: frame" in said
    files = "".join(path.read_text() for path in tmp_path.iterdir() if path.suffix != ".yaml")
    assert not any(secret in said + metrics + files for secret in SECRETS)

"""The HTTP server by itself: what it answers before a source is open, where it listens, whom it sends away."""

import http.client
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import MetricsSettings, Settings, SourceSettings
from edge_app.errors import UsageError
from edge_app.monitor.prometheus import Exporter
from edge_app.monitor.status import CameraStatus, RunStatus
from edge_app.outputs.frame_outputs import FrameOutputs
from tests.clock import Clock
from tests.media import frame, grey, result, write_clip


def free(host: str) -> int:
    """A port of `host` that was free a moment ago; skips where the machine has no such address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, 0), family=family) as server:
            return int(server.getsockname()[1])
    except OSError:
        pytest.skip(f"no {host} on this machine")


def get(host: str, port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_before_the_source_is_open_it_lives_and_is_not_ready(host: str) -> None:
    port = free(host)
    with Exporter(MetricsSettings(host=host, port=port), RunStatus(("door",), ready_age_s=5)):
        assert get(host, port, "/healthz") == (200, "ok\n")
        assert get(host, port, "/readyz?verbose=1") == (503, "door: the source is not open yet\n")
        status, text = get(host, port, "/metrics")
        assert status == 200
        assert '\nedge_app_source_connected{camera="door"} 0.0\n' in text
        assert "frames_read" not in text
        assert get(host, port, "/metrics/")[0] == 404
        assert get(host, port, "/metrics", "POST")[0] == 405


def test_a_host_that_is_not_ours_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"192\.0\.2\.1:9464.*metrics\.port") as caught:
        Exporter(MetricsSettings(host="192.0.2.1", port=9464), RunStatus(("door",), ready_age_s=5))
    assert "\n" not in str(caught.value)


def test_a_client_that_hangs_up_or_says_nothing_holds_nobody_up(capfd: pytest.CaptureFixture[str]) -> None:
    port = free("127.0.0.1")
    with Exporter(MetricsSettings(port=port), RunStatus(("door",), ready_age_s=5)):
        with (
            socket.create_connection(("127.0.0.1", port)) as mute,
            socket.create_connection(("127.0.0.1", port)) as rude,
        ):
            rude.sendall(b"\xff\xfe nonsense\r\n\r\n")
            assert get("127.0.0.1", port, "/healthz")[0] == 200
            mute.sendall(b"GET /metrics")
        assert get("127.0.0.1", port, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_readiness_follows_the_finished_frames(tmp_path: Path) -> None:
    clip, clock = write_clip(tmp_path / "a.mp4", [grey(90)] * 3), Clock()
    camera = CameraStatus("door", ready_age_s=3600, clock=clock)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as reader:
        camera.opened(reader, FrameOutputs(Settings(), reader.info))
        assert camera.not_ready() == "no frame is finished yet"
        assert not camera.fps
        for read in reader:
            clock.now += 0.5
            camera.finished(result(replace(read, captured_at=clock.now - 0.1)))
        assert (camera.frames, camera.index, camera.in_work) == (3, 2, False)
        assert camera.frame_age_ms == pytest.approx(100)
        assert camera.not_ready() is None
        clock.now += 4000
        assert str(camera.not_ready()).startswith("the newest finished frame is 4000.1 s old")
        camera.finished(result(replace(frame(3), captured_at=clock.now)))
        assert camera.not_ready() is None
        camera.failed = "door: lost"
        assert camera.not_ready() == "door: lost"
        camera.failed = None
    assert camera.not_ready() == "the run is ending"


def test_the_rate_is_that_of_the_last_frames_and_sinks_when_none_comes(tmp_path: Path) -> None:
    clip, clock = write_clip(tmp_path / "a.mp4", [grey(90)] * 3), Clock()
    camera = CameraStatus("door", ready_age_s=5, clock=clock)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as reader:
        camera.opened(reader, FrameOutputs(Settings(), reader.info))
        for _ in range(100):
            clock.now += 0.1
            camera.finished(result(frame()))
        assert camera.fps == pytest.approx(10)
        clock.now += 4.9
        assert camera.fps == pytest.approx(5)
    assert camera.fps == 0

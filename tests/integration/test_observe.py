"""A real run seen from outside: its HTTP server, its watchdog, what it tells systemd."""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_app.config.settings import Settings
from edge_app.errors import UsageError, WatchdogError
from edge_app.monitor.status import RunStatus
from edge_app.runtime.run import run
from tests.command import COMMAND, environment
from tests.integration.test_capture import mjpeg, serving
from tests.media import grey, write_clip

QUICK = {"open_timeout_s": 3, "read_timeout_s": 1, "stall_timeout_s": 1, "reconnect_min_s": 0.1, "reconnect_max_s": 0.3}


def settings(uri: object, source: dict[str, Any] | None = None, **sections: Any) -> Settings:
    return Settings.model_validate({"source": {"uri": str(uri), **QUICK, **(source or {})}, **sections})


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.mp4", [grey(90, 320, 240)] * 40)


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    """Set, at the latest when the test ends, it lets go whatever hangs on it."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def backstop() -> Iterator[threading.Event]:
    """Stops a run that the watchdog should have ended long ago, so that a test fails and does not hang."""
    event = threading.Event()
    timer = threading.Timer(60, event.set)
    timer.start()
    yield event
    timer.cancel()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name.removeprefix("edge_app_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


class TestServer:
    def test_metrics_tell_where_the_run_stands(self, models: Path, astronaut: Any, tmp_path: Path, port: int) -> None:
        pages: list[tuple[int, str]] = []

        def on_progress(state: RunStatus) -> None:
            if state.frames == 60:
                pages.append(get(port, "/metrics"))

        run(
            settings("demo", metrics={"port": port}, output={"events": tmp_path / "e.jsonl"}, max_frames=60),
            on_progress=on_progress,
        )
        ((status, text),) = pages
        found = samples(text)
        assert status == 200
        door = {"camera": "camera"}
        assert value(found, "frames_finished_total", **door) == 60
        assert value(found, "frames_read_total", **door) >= 60
        assert value(found, "frames_dropped_total", **door) == value(found, "reconnects_total", **door) == 0
        assert value(found, "sink_errors_total", sink="events", camera="") == 0
        for name in ("persons", "present"):
            persons = {label: value(found, name, verdict=label, **door) for label in ("mask", "no_mask", "unsure")}
            assert persons == {"mask": 0, "no_mask": 1, "unsure": 0}
        assert value(found, "events_total", type="new", label="no_mask", **door) == 1
        assert value(found, "label_changes_total", **door) == 1
        assert value(found, "fps", **door) > 0
        assert value(found, "source_connected", **door) in (0, 1)  # a file may have been read to its end
        assert value(found, "resident_memory_bytes") > 20e6
        assert 0 < value(found, "last_frame_age_seconds", **door) < 60
        for stage in ("detect", "classify", "track", "decide", "output"):
            assert value(found, "stage_seconds_count", stage=stage, **door) == 60
            assert value(found, "stage_seconds_bucket", stage=stage, le="+Inf", **door) == 60
            assert 0 < value(found, "stage_seconds_sum", stage=stage, **door) < 600
        buckets = [value(found, "frame_age_seconds_bucket", le=le, **door) for le in ("0.025", "0.5", "10.0", "+Inf")]
        assert buckets == sorted(buckets)
        assert buckets[-1] == value(found, "frame_age_seconds_count", **door) == 60

    def test_failed_writes_are_counted_by_sink(self, models: Path, astronaut: Any, port: int) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("no /dev/full on this system")
        pages: list[str] = []
        run(
            settings("demo", metrics={"port": port}, output={"events": "/dev/full"}, max_frames=40),
            on_progress=lambda state: pages.append(get(port, "/metrics")[1]) if state.frames == 40 else None,
        )
        assert value(samples(pages[0]), "sink_errors_total", sink="events", camera="") > 0

    def test_ready_while_frames_flow_and_not_when_they_stop(
        self, models: Path, port: int, hang: threading.Event
    ) -> None:
        flowing: list[tuple[int, str]] = []
        silent: list[tuple[str, tuple[int, str]]] = []
        stop, read_on = threading.Event(), threading.Event()

        def look() -> None:
            try:
                assert read_on.wait(30)
                while get(port, "/readyz")[0] == 200:
                    time.sleep(0.05)
                silent.extend((path, get(port, path)) for path in ("/readyz", "/healthz", "/nothing"))
            finally:
                stop.set()

        def on_progress(state: RunStatus) -> None:
            if not flowing:
                flowing.append(get(port, "/readyz"))
                read_on.set()

        outside = threading.Thread(target=look, daemon=True)
        outside.start()
        with serving(mjpeg(30, 0.02, then_hang=hang)) as camera:
            wanted = settings(
                f"http://127.0.0.1:{camera}/",
                source={"stall_timeout_s": 60, "read_timeout_s": 60},
                metrics={"port": port, "ready_age_s": 2},
            )
            run(wanted, on_progress=on_progress, stop=stop)
            hang.set()
        outside.join(10)
        assert flowing == [(200, "ready\n")]
        (_, ready), (_, alive), (_, unknown) = silent
        assert ready[0] == 503
        assert re.fullmatch(
            r"camera: the newest finished frame is [\d.]+ s old \(metrics\.ready_age_s = 2 s\)\n", ready[1]
        )
        assert alive == (200, "ok\n")
        assert unknown[0] == 404

    def test_the_port_is_free_again_after_the_run(self, models: Path, clip: Path, port: int) -> None:
        for _ in range(2):
            run(settings(clip, metrics={"port": port}))
        with pytest.raises(OSError, match="refused"):
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()

    def test_a_port_in_use_is_told_before_anything_is_opened(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            events = tmp_path / "e.jsonl"
            with pytest.raises(UsageError) as caught:
                run(settings("demo", metrics={"port": port}, output={"events": events}))
        assert f"127.0.0.1:{port}" in str(caught.value)
        assert "metrics.port" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not events.exists()


class TestWatchdog:
    def test_a_camera_that_falls_silent_ends_the_run(
        self, models: Path, tmp_path: Path, backstop: threading.Event, hang: threading.Event
    ) -> None:
        files = {"video": tmp_path / "out.mp4", "events": tmp_path / "e.jsonl", "summary": tmp_path / "s.json"}
        with serving(mjpeg(20, 0.02, then_hang=hang)) as camera:
            wanted = settings(
                f"http://user:secret@127.0.0.1:{camera}/",
                source={"stall_timeout_s": 60, "read_timeout_s": 60},
                watchdog={"no_frame_s": 1.5},
                output=files,
            )
            late = r"no frame for [\d.]+ s, [\d.]+ s over watchdog.no_frame_s = 1.5"
            with pytest.raises(WatchdogError, match=late) as e:
                run(wanted, stop=backstop)
            hang.set()
        assert e.value.exit_code == 6
        assert "secret" not in str(e.value)
        assert "\n" not in str(e.value)
        assert json.loads(files["summary"].read_text())["frames"] > 0
        assert files["video"].stat().st_size > 0

    def test_reconnecting_in_vain_is_silence_too(self, models: Path, backstop: threading.Event) -> None:
        """Each attempt to connect must not start the time anew."""
        attempts: list[int] = []

        class Dying(mjpeg(15, 0.02)):  # type: ignore[misc]
            def do_GET(self) -> None:
                attempts.append(1)
                if len(attempts) == 1:
                    super().do_GET()
                else:
                    self.send_error(503)

        with serving(Dying) as camera:
            wanted = settings(f"http://127.0.0.1:{camera}/", watchdog={"no_frame_s": 3})
            with pytest.raises(WatchdogError, match="no frame for 3"):
                run(wanted, stop=backstop)
        assert len(attempts) > 2

    def test_a_camera_that_flows_is_left_alone(self, models: Path) -> None:
        stop = threading.Event()
        limit = 3.0
        ended = threading.Timer(limit + 2, stop.set)
        with serving(mjpeg(10_000, 0.05)) as camera:
            ended.start()
            try:
                wanted = settings(f"http://127.0.0.1:{camera}/", watchdog={"no_frame_s": limit, "stuck_s": limit})
                summary = run(wanted, stop=stop)
            finally:
                ended.cancel()
        assert summary.interrupted
        assert summary.frames > 0

    def test_a_file_is_never_silent_and_a_good_run_is_never_stuck(self, models: Path, clip: Path) -> None:
        summary = run(settings(clip, watchdog={"no_frame_s": 0.001, "stuck_s": 60}))
        assert summary.frames == 40


STUCK = """
import sys, threading
from {where}
calls = []
inner = {target}
def hang(*arguments):
    calls.append(1)
    if len(calls) > 10:
        threading.Event().wait()
    return inner(*arguments)
{target} = hang
from edge_app.commands.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("where", "target", "closes"),
    [
        ("edge_app.vision import detector", "detector.FaceDetector.detect", True),
        ("edge_app.outputs import frame_outputs", "frame_outputs.FrameOutputs.write", False),
    ],
)
def test_a_run_that_hangs_ends_with_its_code(
    models: Path, astronaut: Any, tmp_path: Path, where: str, target: str, closes: bool
) -> None:
    """A stage that hangs can be left, and the files are closed; where the main thread hangs, the process still ends."""
    (tmp_path / "program.py").write_text(STUCK.format(where=where, target=target), encoding="utf-8")
    arguments = ["run", "demo", "--events", "e.jsonl", "--summary", "s.json", "--set", "watchdog.stuck_s=2"]
    result = subprocess.run(
        [sys.executable, "program.py", *arguments],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 6, result.stderr
    line = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert len(line) == 1
    assert "watchdog.stuck_s = 2" in line[0]
    events = [json.loads(text)["type"] for text in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert events[:1] == ["new"]
    if closes:
        assert json.loads((tmp_path / "s.json").read_text())["frames"] == 9  # the first call warms the model up
        assert events[-1] == "end"
    else:
        assert "did not close" in line[0]


def test_a_port_in_use_is_one_line_and_code_2(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [*COMMAND, "run", "demo", "--set", f"metrics.port={port}"],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert result.returncode == 2
    (line,) = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert f"127.0.0.1:{port}" in line


def test_systemd_hears_of_the_whole_run(models: Path, astronaut: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        process = subprocess.Popen(
            [*COMMAND, "run", "demo"],
            cwd=tmp_path,
            env=environment(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="400000"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        lines: list[str] = []
        try:
            while "STOPPING=1" not in lines:
                lines += manager.recv(4096).decode().split("\n")
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait(10)
    assert lines[0] == "READY=1"
    assert lines.count("READY=1") == lines.count("STOPPING=1") == 1
    assert lines.count("WATCHDOG=1") >= 2
    assert any(re.fullmatch(r"STATUS=\d+ frames, [\d.]+ fps, frame age \d+ ms", line) for line in lines)

"""What systemd is told, read from a real datagram socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings
from edge_app.monitor.status import RunStatus
from edge_app.monitor.systemd import Notifier
from edge_app.outputs.frame_outputs import FrameOutputs
from tests.clock import Clock
from tests.media import frame, grey, result, write_clip


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": address}

    def told(self) -> list[str]:
        """The lines that came since the last time."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    opened = Manager(str(tmp_path / "notify") if request.param == "file" else f"@edge_app-test-{os.getpid()}")
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunStatus]:
    """Of one camera, whose source is open."""
    clip = write_clip(tmp_path / "a.mp4", [grey(90)] * 3)
    status = RunStatus(("door",), ready_age_s=5)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as reader:
        status.cameras["door"].opened(reader, FrameOutputs(Settings(), reader.info))
        yield status


def finish(run: RunStatus) -> None:
    run.cameras["door"].finished(result(frame(run.frames)))


def test_ready_is_said_once_and_only_after_the_first_finished_frame(manager: Manager, run: RunStatus) -> None:
    notifier = Notifier(manager.environment)
    notifier.tick(run)
    assert manager.told() == []
    finish(run)
    notifier.tick(run)
    first, status = manager.told()
    assert first == "READY=1"
    assert status.startswith("STATUS=")
    finish(run)
    notifier.tick(run)
    assert "READY=1" not in manager.told()
    notifier.stopping("closing the outputs")
    assert manager.told() == ["STOPPING=1", "STATUS=closing the outputs"]


def test_pings_come_with_finished_frames_and_end_without(manager: Manager, run: RunStatus) -> None:
    clock, asked = Clock(), {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(manager.environment | asked, clock)
    pings = 0
    for _ in range(3):
        finish(run)
        clock.now += 5  # half of the 10 s
        notifier.tick(run)
        pings += manager.told().count("WATCHDOG=1")
    assert pings == 3
    finish(run)
    clock.now += 4.9
    notifier.tick(run)
    assert "WATCHDOG=1" not in manager.told()
    clock.now += 0.1
    notifier.tick(run)
    assert "WATCHDOG=1" in manager.told()
    for _ in range(3):  # time goes on, no frame does
        clock.now += 5
        notifier.tick(run)
    assert "WATCHDOG=1" not in manager.told()
    notifier.ping()  # while outputs are being closed
    assert manager.told() == ["WATCHDOG=1"]


def test_the_status_is_said_now_and_then(manager: Manager, run: RunStatus) -> None:
    clock = Clock()
    notifier = Notifier(manager.environment, clock)
    finish(run)
    notifier.tick(run)
    manager.told()
    clock.now += 4.9
    notifier.tick(run)
    assert manager.told() == []
    clock.now += 0.1
    finish(run)
    notifier.tick(run)
    (status,) = manager.told()
    assert status.startswith("STATUS=not ready: door: the newest finished frame is")  # captured at 0


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"}])
def test_no_ping_that_nobody_asked_for(manager: Manager, run: RunStatus, more: dict[str, str]) -> None:
    clock = Clock()
    notifier = Notifier(manager.environment | more, clock)
    for _ in range(3):
        clock.now += 60
        finish(run)
        notifier.tick(run)
        notifier.ping()
    told = manager.told()
    assert "READY=1" in told
    assert "WATCHDOG=1" not in told


def test_a_manager_that_is_not_there_disturbs_nothing(tmp_path: Path, run: RunStatus) -> None:
    finish(run)
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(environment)
        notifier.tick(run)
        notifier.stopping("over")
        assert notifier.wanted == bool(environment)

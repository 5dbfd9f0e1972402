"""What systemd is told, read from a real datagram socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import OutputSettings, SourceSettings
from edge_app.monitor.status import Fleet, Health
from edge_app.monitor.systemd import Notifier
from edge_app.outputs.fan_out import Outputs
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
def health(tmp_path: Path) -> Iterator[Health]:
    clip = write_clip(tmp_path / "a.mp4", [grey(90)] * 3)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as reader:
        yield Health(reader, Outputs(OutputSettings(), reader.info), ready_age_s=5)


def fleet_of(health: Health) -> Fleet:
    fleet = Fleet(("door",))
    fleet.opened("door", health)
    return fleet


def finish(health: Health) -> None:
    health.finished(result(frame(health.frames)))


def test_ready_is_said_once_and_only_after_the_first_finished_frame(manager: Manager, health: Health) -> None:
    notifier = Notifier(manager.environment)
    notifier.tick(fleet_of(health))
    assert manager.told() == []
    finish(health)
    notifier.tick(fleet_of(health))
    first, status = manager.told()
    assert first == "READY=1"
    assert status.startswith("STATUS=")
    finish(health)
    notifier.tick(fleet_of(health))
    assert "READY=1" not in manager.told()
    notifier.stopping("closing the outputs")
    assert manager.told() == ["STOPPING=1", "STATUS=closing the outputs"]


def test_pings_come_with_finished_frames_and_end_without(manager: Manager, health: Health) -> None:
    notifier = Notifier(manager.environment | {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())})
    pings = 0
    for _ in range(3):
        finish(health)
        time.sleep(0.06)  # half of the 0.1 s and a little
        notifier.tick(fleet_of(health))
        pings += manager.told().count("WATCHDOG=1")
    assert pings == 3
    for _ in range(3):  # time goes on, no frame does
        time.sleep(0.06)
        notifier.tick(fleet_of(health))
    assert "WATCHDOG=1" not in manager.told()
    notifier.ping()  # while outputs are being closed
    assert manager.told() == ["WATCHDOG=1"]


@pytest.mark.parametrize("more", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "2", "WATCHDOG_PID": "1"}])
def test_no_ping_that_nobody_asked_for(manager: Manager, health: Health, more: dict[str, str]) -> None:
    notifier = Notifier(manager.environment | more)
    for _ in range(3):
        finish(health)
        notifier.tick(fleet_of(health))
        notifier.ping()
    told = manager.told()
    assert "READY=1" in told
    assert "WATCHDOG=1" not in told


def test_a_manager_that_is_not_there_disturbs_nothing(tmp_path: Path, health: Health) -> None:
    finish(health)
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}):
        notifier = Notifier(environment)
        notifier.tick(fleet_of(health))
        notifier.stopping("over")
        assert notifier.wanted == bool(environment)

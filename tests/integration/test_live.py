"""Live sources that come late, fall silent or go on after the whole program was stopped. The real command line."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.command import Running
from tests.integration.test_cameras import configuration, has_pictures, lines
from tests.integration.test_observe import get, port  # noqa: F401
from tests.media import Pixels
from tests.rtsp import RtspServer, camera, write_still

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]

PATIENT = ("--set", "source.stall_timeout_s=60", "--set", "source.read_timeout_s=60")
QUICK = ("--set", "source.open_timeout_s=5", "--set", "source.reconnect_max_s=0.5")


@pytest.fixture
def portrait(tmp_path: Path, astronaut: Pixels) -> Path:
    return write_still(tmp_path / "portrait.i420", astronaut)


def told(path: Path) -> list[tuple[str, str]]:
    return [(event["type"], event["label"]) for event in lines(path)] if path.exists() else []


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "s.json").read_text(encoding="utf-8"))
    return found


def test_one_frame_a_second_is_enough_for_a_verdict(tmp_path: Path, portrait: Path) -> None:
    with (
        camera("512x512", still=portrait) as server,
        Running(tmp_path, "run", server.url(), "--events", "e.jsonl", "--set", "source.max_fps=1") as command,
    ):
        command.wait_until(lambda: told(tmp_path / "e.jsonl"), "a person is told")
        assert command.finish(signal.SIGTERM) == 0, command.err
    assert told(tmp_path / "e.jsonl") == [("new", "no_mask"), ("end", "no_mask")]
    assert command.err.count("too slow for the windows of time, lengthened: verdict.window_s from 1.5 s to ") == 1


def test_who_was_in_view_ends_while_the_camera_is_lost(tmp_path: Path, portrait: Path) -> None:
    with (
        camera("512x512", still=portrait) as server,
        Running(tmp_path, "run", server.url(), "--events", "e.jsonl", *PATIENT) as command,
    ):
        command.wait_until(lambda: told(tmp_path / "e.jsonl"), "a person is told")
        server.say("pause")
        command.wait_until(lambda: told(tmp_path / "e.jsonl")[1:], "the end is told without a frame")
        server.say("resume")
        command.wait_until(lambda: told(tmp_path / "e.jsonl")[2:], "the person is a new one")
        assert command.finish(signal.SIGTERM) == 0, command.err
    assert told(tmp_path / "e.jsonl") == [("new", "no_mask"), ("end", "no_mask")] * 2
    new, end, *_ = lines(tmp_path / "e.jsonl")
    assert new["id"] == end["id"]
    assert end["time"] > end["ended_at"] > new["started_at"]


def test_a_program_that_was_stopped_goes_on(tmp_path: Path, portrait: Path) -> None:
    """The watchdog's limit is over when it wakes up, before a frame can have come: no camera is to blame."""
    video = tmp_path / "v.mp4"
    limits = ("--set", "watchdog.no_frame_s=6", "--set", "watchdog.stuck_s=6")
    with (
        camera("512x512", still=portrait) as server,
        Running(tmp_path, "run", server.url(), "--output", video, *limits, *PATIENT) as command,
    ):
        command.wait_until(lambda: has_pictures(video), "it has begun")
        server.say("pause")
        command.process.send_signal(signal.SIGSTOP)
        time.sleep(8)
        command.process.send_signal(signal.SIGCONT)
        time.sleep(0.5)
        server.say("resume")
        for _ in range(2):
            before = video.stat().st_size
            command.wait_until(lambda size=before: video.stat().st_size > size, "pictures come again")
        assert command.finish(signal.SIGTERM) == 0, command.err
    assert "error" not in command.err


def off(server: RtspServer) -> str:
    """A camera that is switched off."""
    server.kill()
    return server.url()


def test_a_camera_that_starts_late_joins_the_others(tmp_path: Path, port: int) -> None:  # noqa: F811
    """What is there already is watched, told as not complete, and complete in the end."""
    videos = {name: tmp_path / f"v-{name}.mp4" for name in ("late", "early")}
    more = ("--output", "v.mp4", "--summary", "s.json", "--set", f"metrics.port={port}")
    ready = ("--set", "metrics.ready_age_s=60")
    with camera() as late, camera() as early:
        config = configuration(tmp_path, ("late", off(late)), ("early", early.url()))
        with Running(tmp_path, "run", "--config", config, *more, *ready, *QUICK) as command:
            command.wait_until(lambda: has_pictures(videos["early"]), "the first is watched")
            status, reason = get(port, "/readyz")
            assert status == 503
            assert reason.startswith("late: the source is not open yet (rtsp://127.0.0.1:")
            late.start()
            command.wait_until(lambda: has_pictures(videos["late"]), "the second has joined")
            assert get(port, "/readyz") == (200, "ready\n")
            assert command.finish(signal.SIGTERM) == 0, command.err
    assert command.err.count("; trying again") == 1
    assert facts(tmp_path)["failed"] == []


def test_a_camera_that_never_came_is_told_in_the_end(tmp_path: Path) -> None:
    with camera() as never, camera() as other:
        config = configuration(tmp_path, ("never", off(never)), ("other", other.url()))
        outputs = ("--output", "v.mp4", "--summary", "s.json")
        with Running(tmp_path, "run", "--config", config, *outputs, *QUICK) as command:
            command.wait_until(lambda: has_pictures(tmp_path / "v-other.mp4"), "the other is watched")
            command.wait_until(lambda: "; trying again" in command.err, "the first is tried")
            assert command.finish(signal.SIGTERM) == 0, command.err
    (line,) = facts(tmp_path)["failed"]
    assert line.startswith("never: never opened (rtsp://127.0.0.1:")
    assert f"warning: {line}" in command.err


def test_cameras_of_which_none_can_be_opened_are_an_error(tmp_path: Path) -> None:
    with camera() as one, camera() as two:
        config = configuration(tmp_path, ("one", off(one)), ("two", off(two)))
    with Running(tmp_path, "run", "--config", config, *QUICK) as command:
        assert command.finish() == 4
    errors = [line for line in command.err.splitlines() if line.startswith("error: ")]
    *each, none = [line.split(":")[1] for line in errors]
    assert (sorted(each), none) == ([" one", " two"], " none of the 2 cameras can be watched")

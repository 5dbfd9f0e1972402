"""Ends nobody chose: signals and kills at any moment, full disks, readers that stop reading. The real command line."""

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import pytest

from edge_app.capture import demo
from edge_app.outputs.frames.video import whole_fragments
from tests.command import Running
from tests.media import Pixels, write_clip
from tests.rtsp import camera

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]

FRAMES, SIZE = 500, (640, 360)
STOPS, KILLS = (50, 50) if os.environ.get("EDGE_APP_TEST_LONG") else (5, 4)
QUICK = ("--set", "tracker.lost_s=0.3", "--set", "verdict.window_s=0.4")
FILES = ("--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4")


@pytest.fixture(scope="module")
def film(astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds in which someone comes and goes every two, each time bare first and masked then."""
    source = demo.DemoSource()
    empty = cv2.resize(source.background, SIZE)

    def pictures() -> Iterator[Pixels]:
        for index in range(FRAMES):
            moment = index % 50
            if moment < 14:
                yield empty
                continue
            # The demo's own persons: bare at its beginning, masked in its middle.
            shown = source.render((0 if moment < 32 else demo.FRAMES // 2) + moment)
            yield np.asarray(cv2.resize(shown, SIZE, interpolation=cv2.INTER_AREA), np.uint8)

    return write_clip(tmp_path_factory.mktemp("film") / "film.mp4", pictures())


def lines(path: Path) -> list[dict[str, Any]]:
    """The events of a file, of which every line has to be whole."""
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def stories(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Story -> the types of its events in order, each of which has to begin as a story does."""
    told: dict[str, list[str]] = {}
    for event in events:
        told.setdefault(event["id"], []).append(event["type"])
    for types in told.values():
        assert types[0] == "new"
        assert set(types[1:-1]) <= {"update"}
        assert types[-1] in ("new", "update", "end")
    return told


def assert_all_told(events: list[dict[str, Any]]) -> None:
    assert all(types[-1] == "end" and len(types) > 1 for types in stories(events).values())


def playable_frames(path: Path) -> int:
    """The frames that can be decoded. Only a file that ends within a fragment may end in an error."""
    torn, count = whole_fragments(path) < path.stat().st_size, 0
    with av.open(str(path)) as container, contextlib.suppress(*[av.error.InvalidDataError] * torn):
        for frame in container.decode(video=0):
            count += (frame.width, frame.height) == SIZE
    return count


def has(path: Path, content: bytes, times: int = 1) -> bool:
    return path.exists() and path.read_bytes().count(content) >= times


class TestSignals:
    @pytest.mark.parametrize("number", range(STOPS))
    def test_a_stop_at_any_moment_leaves_everything_complete(self, film: Path, tmp_path: Path, number: int) -> None:
        chance = random.Random(number)
        events, summary, video = (tmp_path / name for name in FILES[1::2])
        with Running(tmp_path, "run", film, *FILES, *QUICK) as command:
            if number % 4:
                command.wait_until(events.exists, "it has begun")
            time.sleep(chance.uniform(0, 3))
            code = command.finish(signal.SIGTERM)
        assert "Traceback" not in command.err
        if not events.exists():  # the program was still loading: there is nothing to finish
            assert code == -signal.SIGTERM
            return
        assert code in (0, -signal.SIGTERM), command.err  # the latter only after the end: what follows must hold
        facts = json.loads(summary.read_text(encoding="utf-8"))
        assert facts["interrupted"] or facts["frames"] == FRAMES
        told = lines(events)
        assert_all_told(told)
        assert (len(told), facts["sink_errors"]) == (facts["events"], 0)
        if facts["frames"]:
            assert playable_frames(video) == facts["frames"]

    def test_a_kill_at_any_moment_leaves_whole_lines_and_a_video_that_plays(self, film: Path, tmp_path: Path) -> None:
        """All runs append to one file of events; the last one is left in peace."""
        events, summary = tmp_path / "e.jsonl", tmp_path / "s.json"
        chance, killed, before = random.Random(0), 0, 0
        for number in range(KILLS):
            video = tmp_path / f"{number}.mp4"
            with Running(tmp_path, "run", film, "--events", events, "--output", video, *QUICK) as command:
                command.wait_until(lambda video=video: has(video, b"moof", times=2), "the second fragment")
                time.sleep(chance.uniform(0, 2))
                killed += command.finish(signal.SIGKILL) == -signal.SIGKILL
            told = lines(events)
            stories(told)
            assert len(told) >= before
            before = len(told)
            assert playable_frames(video) >= 25  # the first fragment, whole by then
        assert killed > KILLS / 2
        with Running(tmp_path, "run", film, "--events", events, "--summary", summary, *QUICK) as command:
            assert command.finish() == 0, command.err
        last = lines(events)[before:]
        assert_all_told(last)
        assert len(last) == json.loads(summary.read_text(encoding="utf-8"))["events"] > 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB. Only root may mount one, and in many containers nobody: there it skips, in CI too."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mount.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no room on a disk; gives the file to remove for having some again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


class TestFullDisk:
    def test_events_wait_for_room_and_come_in_order(self, film: Path, tmp_path: Path, small_disk: Path) -> None:
        events = small_disk / "e.jsonl"
        old = json.dumps({"old": "x" * 3850}) + "\n"  # all but some 230 bytes of a page: part of a line will fit
        events.write_text(old, encoding="utf-8")
        ballast = fill(small_disk)
        with Running(tmp_path, "run", film, "--events", events, "--summary", "s.json", *QUICK) as command:
            command.wait_until(lambda: "events cannot be written" in command.err, "the full disk is told")
            assert events.read_text(encoding="utf-8") == old  # the part that fitted has been taken back
            ballast.unlink()
            command.wait_until(lambda: "events: works again" in command.err, "the room is found")
            assert command.finish() == 0, command.err
        assert "only part of a line fitted" in command.err
        facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
        first, *told = lines(events)
        assert "old" in first
        assert_all_told(told)
        assert len(told) == facts["events"] > 10
        assert facts["sink_errors"] > 0
        assert command.err.count("cannot be written") == 1  # once per change, not once per frame

    def test_events_that_never_find_room_are_an_error(self, film: Path, tmp_path: Path, small_disk: Path) -> None:
        fill(small_disk)
        events, video = small_disk / "e.jsonl", tmp_path / "v.mp4"
        outputs = ("--events", events, "--summary", "s.json", "--output", video)
        with Running(tmp_path, "run", film, "--max-frames", 100, *outputs, *QUICK) as command:
            assert command.finish() == 5
        error = command.err.splitlines()[-1]
        assert error.startswith(f"error: {events}: events cannot be written")
        assert "not complete" in error
        facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
        assert facts["frames"] == playable_frames(video) == 100  # the other output does not suffer
        assert facts["sink_errors"] > 0
        assert facts["failed"]
        assert lines(events) == []

    def test_a_video_that_fills_the_disk_plays_up_to_there(self, film: Path, tmp_path: Path, small_disk: Path) -> None:
        video = small_disk / "v.mp4"
        outputs = ("--events", "e.jsonl", "--summary", "s.json", "--output", video)
        with Running(tmp_path, "run", film, *outputs, *QUICK) as command:
            assert command.finish() == 5
        assert f"{video}: the video cannot be written" in command.err
        facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
        assert facts["frames"] == FRAMES
        assert facts["sink_errors"] > 0
        assert whole_fragments(video) == video.stat().st_size
        assert 25 <= playable_frames(video) < FRAMES
        assert_all_told(lines(tmp_path / "e.jsonl"))

    def test_a_video_goes_on_in_a_second_file_when_there_is_room(self, tmp_path: Path, small_disk: Path) -> None:
        """From a camera, because a film would be over before the video is tried again."""
        first, second = small_disk / "v.mp4", small_disk / "v-2.mp4"
        with (
            camera("640x360") as server,
            Running(tmp_path, "run", server.url(), "--output", first, *QUICK) as command,
        ):
            command.wait_until(lambda: has(first, b"mdat"), "there is a first file")
            ballast = fill(small_disk)
            command.wait_until(lambda: "video cannot be written" in command.err, "the full disk is told")
            ballast.unlink()
            command.wait_until(lambda: has(second, b"mdat"), "there is a second file")
            assert command.finish(signal.SIGTERM) == 0, command.err
        assert "video: works again" in command.err
        assert playable_frames(first) >= 20
        assert playable_frames(second) >= 20

    def test_a_video_that_never_had_room_leaves_no_file(self, tmp_path: Path, small_disk: Path) -> None:
        ballast, video = fill(small_disk), small_disk / "v.mp4"
        with (
            camera("640x360") as server,
            Running(tmp_path, "run", server.url(), "--output", video, *QUICK) as command,
        ):
            command.wait_until(lambda: "video cannot be written" in command.err, "the full disk is told")
            assert list(small_disk.iterdir()) == [ballast]
            ballast.unlink()
            command.wait_until(lambda: has(video, b"mdat"), "there is a file after all")
            assert command.finish(signal.SIGTERM) == 0, command.err
        assert list(small_disk.iterdir()) == [video]


@pytest.mark.parametrize("reads_again", [False, True])
def test_a_reader_that_stops_reading_does_not_stop_the_camera(film: Path, tmp_path: Path, reads_again: bool) -> None:
    """Events into a pipe that is full: the run goes on to its end, and what is not lost comes then."""
    pipe, summary = tmp_path / "pipe", tmp_path / "s.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    arrived = b""
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        with Running(tmp_path, "run", film, "--events", pipe, "--summary", summary, *QUICK) as command:
            command.wait_until(lambda: "nobody reads them" in command.err, "the full pipe is told")
            while reads_again and command.process.poll() is None:
                time.sleep(0.1)
                with contextlib.suppress(BlockingIOError):
                    arrived += os.read(reader, 300)  # so slowly that the run is over before the last
            code = command.finish()
        with contextlib.suppress(BlockingIOError):
            arrived += os.read(reader, 100_000)
    finally:
        os.close(reader)
    facts = json.loads(summary.read_text(encoding="utf-8"))
    assert facts["frames"] == FRAMES
    assert facts["sink_errors"] > 0
    assert arrived.endswith(b"\n")
    told = [json.loads(line) for line in arrived.splitlines()]
    if reads_again:
        assert code == 0, command.err
        assert len(told) == facts["events"]
        assert_all_told(told)
    else:
        assert code == 5
        assert 0 < len(told) < facts["events"]
        assert f"{facts['events'] - len(told)} events are lost" in command.err

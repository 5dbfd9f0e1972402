"""A camera's recording and events after the program was killed at any moment: what was there stays, and plays."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import av
import cv2
import numpy as np
import pytest

from tests.command import ROOT, Running
from tests.disk import count_lines
from tests.integration.test_faults import lines, stories
from tests.media import Pixels
from tests.rtsp import camera, in_720p, read_stamp, write_still

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]

LONG = bool(os.environ.get("EDGE_APP_TEST_LONG"))
KILLS = 20 if LONG else 2
LOSS_S = 2.0


def content_of(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def last_stamp(path: Path) -> int:
    """The time drawn into the last picture that plays, in milliseconds."""
    with av.open(str(path)) as container:
        stamps = [read_stamp(frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    return next(stamp for stamp in reversed(stamps) if stamp is not None)


@pytest.mark.parametrize("fps", [25, 2])
def test_a_kill_takes_two_seconds_at_most(tmp_path: Path, astronaut: Pixels, fps: int) -> None:
    """All runs add to one file of events and are told the same name for the video."""
    events, chance, losses, before = tmp_path / "e.jsonl", random.Random(fps), list[float](), b""
    small = np.asarray(cv2.resize(in_720p(astronaut), (640, 360), interpolation=cv2.INTER_AREA), np.uint8)
    with camera("640x360", still=write_still(tmp_path / "still", small), fps=fps) as server:
        for number in range(KILLS):
            videos = set(tmp_path.glob("v*.mp4"))
            arguments = ("--events", events, "--output", tmp_path / "v.mp4", "--set", "source.open_timeout_s=60")
            with Running(tmp_path, "run", server.url(), *arguments) as command:
                if number % 4:  # or else while it is loading
                    command.wait_until(lambda before=before: content_of(events) > before, "an event")
                time.sleep(chance.uniform(0, 4))
                killed_at = time.monotonic()
                assert command.finish(signal.SIGKILL) == -signal.SIGKILL
            content = content_of(events)
            assert content.startswith(before)
            before = content
            for video in set(tmp_path.glob("v*.mp4")) - videos:
                losses.append(((int(killed_at * 1000) - last_stamp(video)) & 0xFFFFFFFF) / 1000)
    told = lines(events)
    stories(told)
    assert len(told) >= KILLS - (KILLS + 3) // 4  # one at least in each run that was waited for
    assert {path.suffix for path in tmp_path.iterdir()} <= {".mp4", ".jsonl", ".txt", ""}
    print(f"{fps} fps: {KILLS} kills, {len(losses)} videos, {len(told)} events; seconds lost: {sorted(losses)}")
    assert losses
    assert (max(losses) if LONG else median(losses)) <= LOSS_S  # a busy machine may hold one of them up


def test_a_killed_program_leaves_whole_lines_and_a_playable_video(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from edge_app.outputs.events.jsonl import JsonlOutput
from edge_app.outputs.frames.video import VideoOutput
from tests.media import arrival
events, video = JsonlOutput(Path({str(tmp_path / "e.jsonl")!r})), VideoOutput(Path({str(tmp_path / "v.mp4")!r}), 25)
for index in range(160):
    result = arrival(index)
    events.write(*result.events)
    video.write(result)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "e.jsonl").read_text().endswith("\n")
    assert count_lines(tmp_path / "e.jsonl") == 160
    with av.open(str(tmp_path / "v.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) >= 50

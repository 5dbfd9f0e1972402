"""Events on their way to an output that is slower than they come, through kills: real processes, real live streams."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.command import ROOT, environment, wait_until
from tests.integration.test_capture import Quiet, multipart, serving
from tests.media import Pixels, grey, write_clip

pytestmark = pytest.mark.slow
EVENTS, KILLS = 10_000, 10


def lines(path: Path) -> list[dict[str, Any]]:
    """The events of a file, of which the last line may not be whole yet."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def once(events: list[Any]) -> list[Any]:
    """Without the repetitions of an event right after it, which a kill may leave."""
    return [event for event, _ in groupby(events)]


@contextmanager
def program(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "stderr.txt").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.slow_output", *arguments],
            cwd=ROOT,
            env=environment(XDG_STATE_HOME=str(folder / "state")),
            stderr=errors,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def passers_by(face: Pixels) -> type[Quiet]:
    """A camera's stream at 20 fps before which four persons appear and vanish, twice a second or so."""
    portrait = np.asarray(cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
    everyone = np.tile(portrait, (2, 2, 1))
    seen, nobody = (cv2.imencode(".jpg", picture)[1].tobytes() for picture in (everyone, grey(90, 512, 512)))

    return multipart(lambda: cycle([seen] * 8 + [nobody] * 8), 0.05, lambda: None)


def test_a_live_run_delivers_every_event_to_a_slow_output_through_a_kill(
    models: Path, astronaut: Pixels, tmp_path: Path
) -> None:
    """50 ms an event. The rest of a killed run is delivered by the next one, and that of a stopped one by a third."""
    written, delivered = tmp_path / "e.jsonl", tmp_path / "slow.jsonl"
    quick = {"tracker": {"lost_s": 0.2}, "verdict": {"window_s": 0.3, "min_votes": 2}, "classifier": {"recheck_s": 0}}
    common = {"output": {"events": str(written)}, "slow": {"path": str(delivered)}, **quick}
    with serving(passers_by(astronaut)) as port:
        sources = [{"camera": name, "uri": f"http://127.0.0.1:{port}/"} for name in ("door", "gate")]
        live = json.dumps({"sources": sources, **common})
        with program(tmp_path, "run", live) as process:
            wait_until(lambda: len(lines(written)) >= 60, "60 events")
            process.kill()
        before = lines(written)
        assert 0 < len(lines(delivered)) < len(before)  # the output is slower than the events come
        with program(tmp_path, "run", live) as process:
            wait_until(lambda: len(lines(written)) >= len(before) + 40, "more events")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    clip = write_clip(tmp_path / "nobody.mp4", [grey(90)] * 10)
    last = json.dumps({"source": {"uri": str(clip)}, **common})
    for _ in range(10):  # each delivers for five seconds more
        if len(once(lines(delivered))) < len(lines(written)):
            with program(tmp_path, "run", last) as process:
                assert process.wait(60) == 0
    told, got = lines(written), once(lines(delivered))
    assert len(told) >= 100
    assert {event["camera"] for event in told} == {"door", "gate"}
    assert told[-1]["type"] == "end"
    # A kill may fall between the log and the file, so the file may lack one.
    assert [event for event in got if event in told] == told
    assert len(got) <= len(told) + 1
    assert len(lines(delivered)) <= len(got) + 1


def test_ten_kills_lose_none_of_ten_thousand_events(tmp_path: Path) -> None:
    store, delivered, chance = tmp_path / "store.db", tmp_path / "slow.jsonl", random.Random(0)
    settings = json.dumps({"store": {"path": str(store)}, "slow": {"path": str(delivered), "delay_s": 0.0005}})
    killed = 0
    while killed < KILLS:
        had = delivered.stat().st_size if delivered.exists() else 0
        with program(tmp_path, "produce", settings, str(EVENTS)) as process:
            wait_until(lambda had=had: delivered.exists() and delivered.stat().st_size > had, "an event more")
            time.sleep(chance.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert sqlite3.connect(store).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(lines(delivered)) < EVENTS  # it was killed on the way
    while len(once(lines(delivered))) < EVENTS:
        with program(tmp_path, "produce", settings, str(EVENTS)) as process:
            assert process.wait(120) == 0
    got = lines(delivered)
    assert [event["track_id"] for event in once(got)] == list(range(EVENTS))
    assert [event["id"] for event in once(got)] == [f"{number:032x}" for number in range(EVENTS)]
    assert len(got) <= EVENTS + KILLS

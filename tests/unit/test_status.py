"""How a run of several cameras is: whether anybody may rely on it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings
from edge_app.monitor.status import RunStatus
from edge_app.outputs.frame_outputs import FrameOutputs
from tests.clock import Clock
from tests.media import arrival, frame, grey, result, write_clip


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FrameReader]:
    clip = write_clip(tmp_path / "a.mp4", [grey(90)] * 12)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as opened:
        yield opened


def begin(run: RunStatus, camera: str, reader: FrameReader, total: int | None = None) -> None:
    run.cameras[camera].opened(reader, FrameOutputs(Settings(), reader.info), total)


def test_a_file_counts_while_it_is_its_turn() -> None:
    run = RunStatus(("a", "b"), ready_age_s=5)
    run.cameras["a"].expected = False
    assert run.not_ready() == "b: the source is not open yet"
    run.cameras["b"].expected = False
    assert run.not_ready() is None
    run.cameras["a"].expected = True
    assert run.not_ready() == "a: the source is not open yet"


def test_a_camera_that_is_off_keeps_nobody_waiting_but_is_told() -> None:
    run = RunStatus(("a",), ready_age_s=5)
    run.cameras["a"].refused = "refused"
    assert run.not_ready() == "a: the source is not open yet (refused)"
    assert not run.started
    assert run.frames == 0


def test_a_run_has_started_when_each_camera_that_can_be_opened_has_finished_a_frame(reader: FrameReader) -> None:
    """What systemd takes for READY."""
    clock = Clock()
    run = RunStatus(("on", "off"), ready_age_s=5, clock=clock)
    begin(run, "on", reader)
    assert not run.started
    run.cameras["on"].finished(result(replace(frame(0), captured_at=clock.now)))
    assert not run.started  # the other may open at any moment
    run.cameras["off"].refused = "connection refused"
    assert run.started
    assert run.not_ready() == "off: the source is not open yet (connection refused)"
    begin(run, "off", reader)
    assert not run.started
    run.cameras["off"].finished(result(replace(frame(0), captured_at=clock.now)))
    assert (run.started, run.not_ready()) == (True, None)


def test_one_that_has_failed_is_told_first_and_keeps_nobody_waiting(reader: FrameReader) -> None:
    clock = Clock()
    run = RunStatus(("a", "b"), ready_age_s=5, clock=clock)
    begin(run, "a", reader)
    run.cameras["b"].failed = "connection lost"
    run.cameras["a"].finished(result(replace(frame(0), captured_at=clock.now)))
    assert (run.started, run.not_ready()) == (True, "b: connection lost")
    clock.now += 6
    assert run.age_s == pytest.approx(6)
    assert run.not_ready() == "b: connection lost"


def test_the_sums_are_those_of_all_cameras_and_the_age_is_the_worst(reader: FrameReader) -> None:
    clock = Clock()
    run = RunStatus(("a", "b", "later"), ready_age_s=5, clock=clock)
    assert (run.total, run.age_s) == (0, None)
    begin(run, "a", reader, 12)
    begin(run, "b", reader, 30)
    assert run.total == 42
    observed = list[tuple[str, str]]()
    run.observe(lambda camera, stage, _: observed.append((camera, stage)))
    clock.now += 1
    for camera, age in (("a", 0.5), ("b", 2.0)):
        judged = arrival()
        run.cameras[camera].finished(replace(judged, frame=replace(judged.frame, captured_at=clock.now - age)))
    assert observed == [("a", "frame_age"), ("b", "frame_age")]
    assert (run.frames, run.persons) == (2, 2)
    assert run.verdicts == run.present == {"mask": 2, "no_mask": 0, "unsure": 0}
    assert (run.frame_age_ms, run.age_s, run.fps) == pytest.approx((2000, 2.0, 2.0))
    begin(run, "later", reader, None)
    assert run.total is None

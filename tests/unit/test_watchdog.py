"""When the watchdog fires: frames of a real file that are finished in time, too late, or not at all."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import OutputSettings, SourceSettings, WatchdogSettings
from edge_app.monitor.status import Fleet, Health
from edge_app.monitor.watchdog import Watchdog
from edge_app.outputs.fan_out import Outputs
from tests.media import grey, result, write_clip

LIMIT_S = 1.0


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FrameReader]:
    clip = write_clip(tmp_path / "a.mp4", [grey(90)] * 12)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as opened:
        yield opened


@pytest.fixture
def health(reader: FrameReader) -> Health:
    return Health(reader, Outputs(OutputSettings(), reader.info), ready_age_s=5)


def test_frames_that_keep_finishing_are_not_stuck_though_more_wait(reader: FrameReader, health: Health) -> None:
    watchdog = Watchdog(WatchdogSettings(stuck_s=LIMIT_S), "a.mp4", health)
    frames = iter(reader)
    start = time.monotonic()
    while time.monotonic() < start + 1.5 * LIMIT_S:
        frame = next(frames)
        until = time.monotonic() + 10
        while reader.newest_index <= frame.index and time.monotonic() < until:
            time.sleep(0.001)  # the reader's thread is about to read the next one
        health.finished(result(frame))
        assert health.in_work
        assert watchdog.check() is None
        time.sleep(0.25 * LIMIT_S)


def test_a_frame_that_nothing_finishes_is_told_with_what_is_late_and_by_how_much(
    reader: FrameReader, health: Health
) -> None:
    watchdog = Watchdog(WatchdogSettings(stuck_s=LIMIT_S), "a.mp4", health)
    next(iter(reader))
    assert watchdog.check() is None
    time.sleep(LIMIT_S + 0.5)
    message = str(watchdog.check())
    assert message.startswith("a.mp4: frames are read but none was finished for 1.")
    assert "s over watchdog.stuck_s = 1:" in message
    assert "\n" not in message


def test_a_run_with_nothing_left_to_do_is_not_stuck(reader: FrameReader, health: Health) -> None:
    watchdog = Watchdog(WatchdogSettings(stuck_s=0.01, no_frame_s=0.01), "a.mp4", health)
    for frame in reader:
        health.finished(result(frame))
    assert not health.in_work
    for _ in range(3):
        assert watchdog.check() is None
        time.sleep(0.02)


def test_it_is_off_by_default(reader: FrameReader, health: Health) -> None:
    next(iter(reader))
    watchdog = Watchdog(WatchdogSettings(), "a.mp4", health)
    for _ in range(3):
        assert watchdog.check() is None
        time.sleep(0.02)


def test_what_was_before_the_program_went_on_does_not_count(reader: FrameReader, health: Health) -> None:
    """As after SIGSTOP and SIGCONT: a frame in work could not have been finished."""
    watchdog = Watchdog(WatchdogSettings(stuck_s=LIMIT_S), "a.mp4", health)
    next(iter(reader))
    assert watchdog.check() is None
    time.sleep(LIMIT_S + 0.2)
    assert watchdog.check(awake_since=time.monotonic()) is None
    assert watchdog.check() is not None


def test_frames_of_several_cameras_do_not_wait_for_one_that_is_off(reader: FrameReader, health: Health) -> None:
    """What systemd takes for READY: each has finished a frame, but for those that cannot be opened."""
    fleet = Fleet(("on", "off"))
    fleet.opened("on", health)
    health.finished(result(next(iter(reader))))
    assert fleet.frames == 0  # the other may open at any moment
    fleet.waiting["off"] = "connection refused"
    assert fleet.frames == 1
    assert fleet.not_ready() == "off: the source is not open yet (connection refused)"
    fleet.opened("off", health)
    assert (fleet.frames, fleet.not_ready()) == (2, None)

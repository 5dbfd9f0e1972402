"""When the watchdog fires: frames of a real file that are finished in time, too late, or not at all."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings, WatchdogSettings
from edge_app.monitor.status import CameraStatus
from edge_app.monitor.watchdog import Watchdog
from edge_app.outputs.frame_outputs import FrameOutputs
from tests.clock import Clock
from tests.media import grey, result, write_clip

LIMIT_S = 30.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[FrameReader]:
    clip = write_clip(tmp_path / "a.mp4", [grey(90)] * 12)
    with FrameReader(parse_source(str(clip)), SourceSettings()) as opened:
        yield opened


@pytest.fixture
def camera(reader: FrameReader, clock: Clock) -> CameraStatus:
    status = CameraStatus("door", ready_age_s=5, clock=clock)
    status.opened(reader, FrameOutputs(Settings(), reader.info))
    return status


def watchdog_of(camera: CameraStatus, clock: Clock, **limits: float) -> Watchdog:
    return Watchdog(WatchdogSettings(**limits), "a.mp4", camera, clock)


def test_frames_that_keep_finishing_are_not_stuck_though_more_wait(
    reader: FrameReader, camera: CameraStatus, clock: Clock
) -> None:
    watchdog = watchdog_of(camera, clock, stuck_s=LIMIT_S)
    frames = iter(reader)
    for _ in range(6):
        frame = next(frames)
        until = time.monotonic() + 10
        while reader.newest_index <= frame.index and time.monotonic() < until:
            time.sleep(0.001)  # the reader's thread is about to read the next one
        camera.finished(result(frame))
        assert camera.in_work
        assert watchdog.check() is None
        clock.now += 0.9 * LIMIT_S


def test_a_frame_that_nothing_finishes_is_told_with_what_is_late_and_by_how_much(
    reader: FrameReader, camera: CameraStatus, clock: Clock
) -> None:
    watchdog = watchdog_of(camera, clock, stuck_s=LIMIT_S)
    next(iter(reader))
    assert watchdog.check() is None
    clock.now += LIMIT_S
    assert watchdog.check() is None
    clock.now += 1.5
    message = str(watchdog.check())
    assert message.startswith(
        "a.mp4: frames are read but none was finished for 31.5 s, 1.5 s over watchdog.stuck_s = 30:"
    )
    assert "\n" not in message


def test_a_run_with_nothing_left_to_do_is_not_stuck(reader: FrameReader, camera: CameraStatus, clock: Clock) -> None:
    watchdog = watchdog_of(camera, clock, stuck_s=LIMIT_S, no_frame_s=LIMIT_S)
    for frame in reader:
        camera.finished(result(frame))
    assert not camera.in_work
    for _ in range(3):
        assert watchdog.check() is None
        clock.now += 2 * LIMIT_S


def test_it_is_off_by_default(reader: FrameReader, camera: CameraStatus, clock: Clock) -> None:
    next(iter(reader))
    watchdog = watchdog_of(camera, clock)
    for _ in range(3):
        assert watchdog.check() is None
        clock.now += 3600


def test_what_was_before_the_program_went_on_does_not_count(
    reader: FrameReader, camera: CameraStatus, clock: Clock
) -> None:
    """As after SIGSTOP and SIGCONT: a frame in work could not have been finished."""
    watchdog = watchdog_of(camera, clock, stuck_s=LIMIT_S)
    next(iter(reader))
    assert watchdog.check() is None
    clock.now += LIMIT_S + 1
    assert watchdog.check(awake_since=clock.now) is None
    assert watchdog.check() is not None


class TestSilence:
    """Of a source that is live and gives nothing by itself."""

    @pytest.fixture
    def live(self, reader: FrameReader, camera: CameraStatus, clock: Clock) -> CameraStatus:
        camera.reader = Live(reader)  # type: ignore[assignment]
        return camera

    def test_a_source_that_gives_nothing_is_told(self, live: CameraStatus, clock: Clock) -> None:
        watchdog = watchdog_of(live, clock, no_frame_s=LIMIT_S)
        clock.now += LIMIT_S
        assert watchdog.check() is None
        clock.now += 1
        message = str(watchdog.check())
        assert message.startswith("a.mp4: no frame for 31.0 s, 1.0 s over watchdog.no_frame_s = 30:")
        assert "\n" not in message

    def test_one_that_gives_frames_now_and_then_is_not(self, live: CameraStatus, clock: Clock) -> None:
        watchdog = watchdog_of(live, clock, no_frame_s=LIMIT_S)
        for _ in range(3):
            clock.now += LIMIT_S
            assert watchdog.check() is None
            live.reader.last_read_at = clock.now  # type: ignore[union-attr]
        clock.now += LIMIT_S + 1
        assert watchdog.check() is not None

    def test_what_was_before_the_program_went_on_does_not_count(self, live: CameraStatus, clock: Clock) -> None:
        watchdog = watchdog_of(live, clock, no_frame_s=LIMIT_S)
        clock.now += 10 * LIMIT_S
        assert watchdog.check(awake_since=clock.now - LIMIT_S) is None
        assert watchdog.check(awake_since=clock.now - LIMIT_S - 1) is not None


class Live:
    """A camera's reader as the watchdog sees it."""

    def __init__(self, reader: FrameReader) -> None:
        self.info = replace(reader.info, live=True)
        self.last_read_at: float | None = None
        self.newest_index = -1

"""Capture: files wait and lose nothing, live sources stay new, and nothing a source does can hang the reader.

The sources are in memory here; real files and a real server are in tests/integration/test_capture.py.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from edge_app.capture.handover import Patience
from edge_app.capture.reader import MAX_ABANDONED, FrameReader
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.clock import Backoff
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from tests.media import Pixels, grey

LIVE = SourceSpec("stream", "rtsp://user:secret@host/1", "rtsp://***@host/1", live=True)
FILE = SourceSpec("file", "a.mp4", "a.mp4", live=False)
QUICK = SourceSettings(open_timeout_s=1, stall_timeout_s=0.5, reconnect_min_s=0.002, reconnect_max_s=0.01)
IMPATIENT = Patience(poll_s=0.01, join_s=0.4, open_grace_s=0.05, room_s=0.05)
HUNG = replace(IMPATIENT, join_s=0.05)  # for a test whose source hangs on closing, too


class Scripted(Source):
    """Gives numbered frames at a pace; then ends, fails or hangs."""

    def __init__(
        self, spec: SourceSpec, count: int, step_s: float = 0.0, then: Callable[[], object] = lambda: None
    ) -> None:
        self.info = SourceInfo(spec.display, spec.kind, spec.live, 64, 48, 25.0, None)
        self._count, self._step_s, self._then = count, step_s, then
        self.read_frames, self.closed = 0, False

    def read(self) -> tuple[Pixels, float] | None:
        time.sleep(self._step_s)
        if self.read_frames == self._count:
            self._then()
            return None
        self.read_frames += 1
        return grey(self.read_frames % 256), (self.read_frames - 1) / 25

    def close(self) -> None:
        self.closed = True


def reader(
    spec: SourceSpec,
    *lives: Source | Exception,
    settings: SourceSettings = QUICK,
    patience: Patience = IMPATIENT,
    clock: Callable[[], float] = time.monotonic,
) -> FrameReader:
    """A reader whose source has these lives one after another; the last one comes again and again."""
    left = list(lives)

    def opener(_spec: SourceSpec, _settings: SourceSettings) -> Source:
        life = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(life, Exception):
            raise life
        return life

    return FrameReader(spec, settings, opener=opener, patience=patience, clock=clock)


def fail(error: Exception) -> Callable[[], None]:
    def raises() -> None:
        raise error

    return raises


def test_a_file_waits_for_slow_work_and_every_frame_comes_in_order() -> None:
    source = Scripted(FILE, 30)
    with reader(FILE, source) as frames:
        got = []
        for frame in frames:
            time.sleep(0.002)
            got.append(frame)
            assert source.read_frames - len(got) <= 6  # decoded a little ahead, no more
        assert frames.stats() == {"read": 30, "frames": 30, "dropped_frames": 0, "reconnects": 0}
    assert [f.index for f in got] == list(range(30))
    assert [int(f.image[0, 0, 0]) for f in got] == list(range(1, 31))
    assert [f.time for f in got] == pytest.approx([i / 25 for i in range(30)])
    assert [f.wall_time - got[0].wall_time for f in got] == pytest.approx([f.time for f in got], abs=1e-6)
    assert abs(got[0].wall_time - time.time()) < 5
    assert source.closed


def test_an_error_in_a_file_is_raised_after_the_frames_before_it() -> None:
    with reader(FILE, Scripted(FILE, 3, then=fail(SourceError("a.mp4: broken")))) as frames:
        left = iter(frames)
        assert [next(left).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceError, match="broken"):
            next(left)


def test_a_live_source_keeps_the_newest_and_counts_the_others() -> None:
    with reader(LIVE, Scripted(LIVE, 10_000, 0.002)) as frames:
        ages, indices = [], []
        for frame in frames:
            ages.append(time.monotonic() - frame.captured_at)
            indices.append(frame.index)
            time.sleep(0.02)  # ten times slower than the camera
            if len(indices) == 10:
                break
        stats = frames.stats()
    assert np.median(ages) < 0.03
    gaps = sum(after - before - 1 for before, after in pairwise(indices))
    assert gaps > 20
    assert gaps <= stats["dropped_frames"] <= gaps + indices[0] + 30


class Early(Scripted):
    """A live source whose frames have the time that is told, in seconds from the moment they are read."""

    def __init__(self, count: int, ahead_s: float) -> None:
        super().__init__(LIVE, count, 0.01)
        self._ahead_s, self.times = ahead_s, list[float]()

    def read(self) -> tuple[Pixels, float] | None:
        frame = super().read()
        self.times.append(time.monotonic() + self._ahead_s)
        return frame and (frame[0], self.times[-1])


@pytest.mark.parametrize("ahead_s", [-0.2, 0.0, 0.1])
def test_live_time_is_that_of_the_source_and_never_later_than_capture(ahead_s: float) -> None:
    source = Early(10_000, ahead_s)
    with reader(LIVE, source) as frames:
        first = next(iter(frames))
    assert first.time == source.times[0]
    assert 0 <= first.captured_at - first.time == pytest.approx(max(-ahead_s, 0), abs=0.1)
    assert first.captured_at == pytest.approx(time.monotonic(), abs=3)
    assert first.wall_time == pytest.approx(time.time(), abs=3)


def test_frames_of_a_burst_are_given_at_their_time_and_none_is_lost() -> None:
    class Burst(Early):
        def read(self) -> tuple[Pixels, float] | None:
            frame = super().read()
            return frame and (frame[0], began + 0.05 * self.read_frames)

    began = time.monotonic()
    with reader(LIVE, Burst(10, 0.0), settings=QUICK.model_copy(update={"reconnect": False})) as frames:
        times = [frame.time - began for frame in frames]
        assert frames.stats()["dropped_frames"] == 0
    assert times == pytest.approx([0.05 * n for n in range(1, 11)])
    assert 0.5 <= time.monotonic() - began < 3


def test_a_frame_that_is_waited_for_is_no_stall_and_ends_with_the_run() -> None:
    settings = QUICK.model_copy(update={"stall_timeout_s": 0.05})
    with reader(LIVE, Early(10_000, 30.0), settings=settings) as frames:
        threading.Timer(0.4, frames.stop).start()
        began = time.monotonic()
        assert list(frames) == []
        mine = [thread for thread in threading.enumerate() if thread.name.startswith("capture")]
    assert frames.stats()["reconnects"] == 0
    assert time.monotonic() - began < 1.5
    assert mine
    assert not any(thread.is_alive() for thread in mine)


def test_a_lower_rate_is_kept_on_average_and_is_no_drop() -> None:
    """250 frames a second by a clock that moves with them; each one that is due is taken before the next comes."""
    now, taken = [1000.0], [-1]

    class Paced(Scripted):
        def read(self) -> tuple[Pixels, float] | None:
            while frames.newest_index > taken[0] and not frames.stopped:
                time.sleep(0.0002)
            now[0] += 0.004
            return super().read()

    settings = QUICK.model_copy(update={"max_fps": 40.0})
    frames = reader(LIVE, Paced(LIVE, 10_000), settings=settings, clock=lambda: now[0])
    times = []
    with frames:
        for frame in frames:
            times.append(frame.captured_at)
            taken[0] = frame.index
            if len(times) == 101:
                break
        assert frames.stats()["dropped_frames"] == 0
    assert 100 / (times[-1] - times[0]) == pytest.approx(40, rel=0.01)


def test_a_source_that_does_not_open_is_an_error_at_once() -> None:
    with pytest.raises(SourceError, match="refused"), reader(LIVE, SourceError("refused")):
        pass


def test_a_camera_that_starts_late_is_waited_for_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    refused = SourceError("rtsp://***@host/1: connection refused")
    patient = QUICK.model_copy(update={"wait_s": 30.0})
    lives = (*[refused] * 6, Scripted(LIVE, 10_000, 0.002))
    with caplog.at_level(logging.INFO), reader(LIVE, *lives, settings=patient) as frames:
        assert next(iter(frames)).index >= 0
        assert frames.stats()["reconnects"] == 0
    assert [record.getMessage() for record in caplog.records] == [f"{refused}; trying again"]


def test_waiting_for_a_camera_ends_in_time_with_its_last_error() -> None:
    start = time.monotonic()
    patient = QUICK.model_copy(update={"wait_s": 0.1})
    with pytest.raises(SourceError, match="refused"), reader(LIVE, SourceError("refused"), settings=patient):
        pass
    assert 0.1 <= time.monotonic() - start < 4


def test_a_file_that_does_not_open_is_not_waited_for() -> None:
    start = time.monotonic()
    patient = QUICK.model_copy(update={"wait_s": 30.0})
    with pytest.raises(SourceError, match="no such"), reader(FILE, SourceError("no such file"), settings=patient):
        pass
    assert time.monotonic() - start < 4


def test_a_stop_is_heard_while_waiting_for_a_camera() -> None:
    waiting = reader(LIVE, SourceError("refused"), settings=QUICK.model_copy(update={"wait_s": 30.0}))
    threading.Timer(0.1, waiting.stop).start()
    start = time.monotonic()
    with pytest.raises(SourceError, match=r"rtsp://\*\*\*@host/1: stopped before it opened"), waiting:
        pass
    assert time.monotonic() - start < 4


def test_a_source_that_hangs_while_opening_is_an_error_in_time() -> None:
    forever = threading.Event()

    def opener(_spec: SourceSpec, _settings: SourceSettings) -> Source:
        forever.wait(30)
        raise SourceError("too late")

    settings, start = QUICK.model_copy(update={"open_timeout_s": 0.1}), time.monotonic()
    try:
        with pytest.raises(SourceError, match="did not open within 0") as caught:
            FrameReader(LIVE, settings, opener=opener, patience=HUNG).__enter__()
    finally:
        forever.set()
    assert time.monotonic() - start < 4
    assert "secret" not in str(caught.value)


def test_a_lost_source_comes_back_with_one_line_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    refused = SourceError("rtsp://***@host/1: connection refused")
    lives = (Scripted(LIVE, 5, 0.002), refused, refused, refused, Scripted(LIVE, 10_000, 0.002))
    with caplog.at_level(logging.INFO), reader(LIVE, *lives) as frames:
        indices = []
        for frame in frames:
            indices.append(frame.index)
            if frames.stats()["reconnects"]:
                break
    assert indices == sorted(set(indices))
    lost, back = (record.getMessage() for record in caplog.records)
    assert lost == "rtsp://***@host/1: the stream ended; reconnecting"
    assert back.startswith("rtsp://***@host/1: back after ")
    assert "secret" not in caplog.text


def test_a_return_of_one_frame_is_counted_too() -> None:
    short = [Scripted(LIVE, 1) for _ in range(3)]
    with reader(LIVE, *short, Scripted(LIVE, 10_000, 0.01)) as frames:
        alarm = threading.Timer(3.0, frames.stop)
        alarm.start()
        for _ in frames:
            if frames.stats()["reconnects"] == 3:
                break
        alarm.cancel()
    assert frames.stats()["reconnects"] == 3


def test_a_stalled_source_is_abandoned_and_replaced_and_its_late_frame_ignored() -> None:
    hang = threading.Event()
    stalled = Scripted(LIVE, 3, 0.002, then=hang.wait)
    settings = QUICK.model_copy(update={"stall_timeout_s": 0.1})
    with reader(LIVE, stalled, Scripted(LIVE, 10_000, 0.002), settings=settings) as frames:
        start = time.monotonic()
        for _ in frames:
            if frames.stats()["reconnects"]:
                break
        assert time.monotonic() - start < 3
        hang.set()
        indices = [frame.index for frame, _ in zip(frames, range(20), strict=False)]
    assert indices == sorted(set(indices))
    assert stalled.closed


def test_hanging_threads_are_capped(caplog: pytest.LogCaptureFixture) -> None:
    """Once they are as many as may hang it says so; looked at again and again, it opens no further one."""
    hang = threading.Event()
    full = f"{LIVE.display}: {MAX_ABANDONED} reads hang; waiting for one to return"
    opened: list[Scripted] = []

    def opener(spec: SourceSpec, _settings: SourceSettings) -> Source:
        opened.append(Scripted(spec, 1, then=hang.wait))
        return opened[-1]

    settings = QUICK.model_copy(update={"stall_timeout_s": 0.02})
    try:
        patience = replace(HUNG, room_s=0.005)
        with FrameReader(LIVE, settings, opener=opener, patience=patience):
            until = time.monotonic() + 20
            while full not in caplog.messages and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(10 * patience.room_s)
            assert (len(opened), caplog.messages.count(full)) == (MAX_ABANDONED, 1)
            hang.set()  # and goes on where there is room again
            while len(opened) == MAX_ABANDONED and time.monotonic() < until:
                time.sleep(0.005)
            assert len(opened) > MAX_ABANDONED
    finally:
        hang.set()


@pytest.mark.parametrize(
    ("life", "raises"),
    [(Scripted(LIVE, 3), False), (Scripted(LIVE, 3, then=fail(SourceError("cable out"))), True)],
    ids=["ends", "fails"],
)
def test_without_reconnecting_a_lost_source_ends_the_run(life: Scripted, raises: bool) -> None:
    with reader(LIVE, life, settings=QUICK.model_copy(update={"reconnect": False})) as frames:
        if raises:
            with pytest.raises(SourceError, match="cable out"):
                list(frames)
        else:
            list(frames)


@pytest.mark.parametrize("spec", [LIVE, FILE], ids=["live", "file"])
def test_stop_ends_the_iteration_at_once_from_another_thread(spec: SourceSpec) -> None:
    hang = threading.Event()
    with reader(spec, Scripted(spec, 2, then=hang.wait)) as frames:
        threading.Timer(0.05, frames.stop).start()
        start = time.monotonic()
        list(frames)
        assert time.monotonic() - start < 1
        hang.set()


def test_closing_does_not_wait_for_a_thread_that_hangs() -> None:
    hang = threading.Event()
    start = time.monotonic()
    with reader(LIVE, Scripted(LIVE, 1, then=hang.wait), patience=HUNG) as frames:
        next(iter(frames))
    assert time.monotonic() - start < 4
    hang.set()


def test_leaving_early_ends_the_threads() -> None:
    for spec in (FILE, LIVE) * 3:
        with reader(spec, Scripted(spec, 10_000, 0.001)) as frames:
            next(iter(frames))
            mine = [thread for thread in threading.enumerate() if thread.name.startswith("capture")]
        assert not any(thread.is_alive() for thread in mine)


def test_waits_double_up_to_the_longest_and_start_anew() -> None:
    waits = Backoff(0.5, 3.0, chance=lambda: 0.0)
    assert [waits.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    waits.reset()
    assert waits.next() == 0.5
    jittered = Backoff(1.0, 1.0)
    assert all(0.8 <= jittered.next() <= 1.0 for _ in range(50))


@pytest.mark.parametrize(("wait_s", "why"), [(0.0, ""), (0.1, " (given up after source.wait_s = 0.1 s)")])
def test_a_camera_that_is_waited_for_in_vain_names_the_setting(wait_s: float, why: str) -> None:
    refused = SourceError("rtsp://***@host/1: connection refused")
    settings = QUICK.model_copy(update={"wait_s": wait_s})
    with pytest.raises(SourceError) as caught, reader(LIVE, *[refused] * 20, settings=settings):
        pass
    assert str(caught.value) == f"{refused}{why}"


def test_who_wants_to_hear_of_refusals_decides_when_to_give_up() -> None:
    refusals: list[SourceError] = []
    refused = SourceError("rtsp://***@host/1: connection refused")
    lives = [*[refused] * 4, Scripted(LIVE, 10_000, 0.002)]
    waiting = FrameReader(LIVE, QUICK, opener=lambda *_: life(lives), on_refused=refusals.append, patience=IMPATIENT)
    with waiting as frames:
        assert next(iter(frames)).index >= 0
    assert refusals == [refused] * 4


def test_one_of_several_cameras_is_named_in_what_is_said_of_it(caplog: pytest.LogCaptureFixture) -> None:
    refused = SourceError("rtsp://***@host/***: connection refused")
    lives = [refused, Scripted(LIVE, 5, 0.002), Scripted(LIVE, 10_000, 0.002)]
    door = QUICK.model_copy(update={"camera": "door"})
    named = FrameReader(LIVE, door, opener=lambda *_: life(lives), on_refused=lambda _: None, patience=IMPATIENT)
    with named as frames:
        for _ in frames:
            if frames.stats()["reconnects"]:
                break
    late, lost, back = (record.getMessage() for record in caplog.records)
    assert late == f"door: {refused}; trying again"
    assert lost.startswith("door: rtsp://***@host/1: ")
    assert back.startswith("door: rtsp://***@host/1: back after ")


def life(lives: list[Source | Exception]) -> Source:
    now = lives.pop(0)
    if isinstance(now, Exception):
        raise now
    return now


def test_no_thread_to_read_in_is_an_attempt_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have none left for a while; nobody may wait for frames that do not come."""
    start, to_come = threading.Thread.start, [True, False, False]  # whether there is one for each connection

    def short(self: threading.Thread) -> None:
        if self.name == "capture" and to_come and not to_come.pop(0):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", short)
    with reader(LIVE, Scripted(LIVE, 5, 0.002), Scripted(LIVE, 10_000, 0.002)) as frames:
        alarm = threading.Timer(20, frames.stop)
        alarm.start()
        for _ in frames:
            if frames.stats()["reconnects"]:
                break
        alarm.cancel()
    assert (frames.stats()["reconnects"], to_come) == (1, [])


def test_time_stamps_of_a_file_never_run_backwards() -> None:
    class Broken(Scripted):
        def read(self) -> tuple[Pixels, float] | None:
            frame = super().read()
            return frame and (frame[0], stamps[self.read_frames - 1])

    stamps = [0.0, 0.04, float("nan"), -5.0, 0.1, 0.2, float("-inf"), 9e15]
    with reader(FILE, Broken(FILE, len(stamps))) as frames:
        times = [frame.time for frame in frames]
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 9e15])


def test_a_program_that_was_stopped_does_not_take_the_silence_for_the_cameras() -> None:
    """The clock leaps by 20 s, as it does over SIGSTOP: no frame can have come in that time."""
    now, looks, silent, quiet = [100.0], [0], threading.Event(), threading.Event()

    def clock() -> float:
        looks[0] += 1
        return now[0]

    class Camera(Scripted):
        def read(self) -> tuple[Pixels, float] | None:
            while silent.is_set():
                quiet.set()
                time.sleep(0.001)
            return super().read()

    def pass_in_silence(seconds: float) -> None:
        """While no frame comes only who watches over the source looks at the clock."""
        silent.set()
        assert quiet.wait(20)
        now[0] += seconds
        before, until = looks[0], time.monotonic() + 20
        while looks[0] < before + 6 and time.monotonic() < until:
            time.sleep(0.001)

    settings = QUICK.model_copy(update={"reconnect": False, "stall_timeout_s": 2.0})
    with reader(LIVE, Camera(LIVE, 10_000, 0.002), settings=settings, clock=clock) as frames:
        left = iter(frames)
        next(left)
        pass_in_silence(20.0)
        silent.clear()
        assert next(frame for frame in left if frame.captured_at == 120.0)
        quiet.clear()
        for _ in range(2):  # and now it is the camera's
            pass_in_silence(0.9)
        now[0] += 0.9
        with pytest.raises(SourceError, match="no frame for 2 s"):
            list(left)
        silent.clear()

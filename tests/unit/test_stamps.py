"""Presentation times, by clocks that only the tests move on."""

import logging
import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest

from edge_app.capture.stamps import BACKLOG_S, FileClock, LiveClock
from tests.clock import Clock

STEP = 0.04


def film(stamps: Iterable[float | None], step_s: float = STEP) -> list[float]:
    clock = FileClock(step_s, "a.mp4")
    return [clock.time(stamp) for stamp in stamps]


def steady(count: int, start: float = 0.0, step: float = STEP) -> list[float]:
    return [start + step * index for index in range(count)]


class TestFile:
    @pytest.mark.parametrize("start", [0.0, 1.48, -0.5, 95443.7])
    def test_it_begins_with_the_first_frame(self, start: float) -> None:
        assert film(steady(50, start)) == pytest.approx(steady(50))

    def test_a_variable_rate_is_kept(self) -> None:
        stamps = [0.0, 0.08, 0.2, 0.28, 0.4, 3.4, 3.44]
        assert film(stamps) == pytest.approx(stamps)

    @pytest.mark.parametrize(
        "stamps",
        [[None] * 5, [0.0] * 5, [math.nan] * 5, [7.0, None, None, 7.12, math.inf], [0.0, 0.04, 0.02, 0.0, 0.16]],
        ids=["missing", "still", "no number", "some missing", "disorder"],
    )
    def test_what_is_no_time_is_replaced_by_the_rate(
        self, stamps: list[float | None], caplog: pytest.LogCaptureFixture
    ) -> None:
        assert film(stamps) == pytest.approx(steady(5))
        assert caplog.text == ""

    @pytest.mark.parametrize(
        ("again", "jump"),
        [(86401.0, "+86400.0"), (0.0, "-1.0"), (-5000.0, "-5001.0"), (30.0, "+29.0")],
        ids=["a day on", "from the start", "far back", "half a minute on"],
    )
    def test_jumps_and_restarts_are_bridged_and_told_once(
        self, again: float, jump: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        stamps = [*steady(30), *steady(30, again + 29 * STEP - 1.16 + 0.04 * (again != 0)), *steady(30, 1e6)]
        with caplog.at_level(logging.WARNING):
            times = film(stamps)
        assert np.diff(times) == pytest.approx(STEP)
        (line,) = caplog.messages
        assert line.startswith("a.mp4: its time stamps jump by ")
        assert line.endswith(" s: bridged")

    def test_the_33_bits_of_mpeg_ts_run_over(self, caplog: pytest.LogCaptureFixture) -> None:
        wrap = 2**33 / 90_000
        times = film([(wrap - 1 + 0.04 * index) % wrap for index in range(50)])
        assert np.diff(times) == pytest.approx(STEP)
        assert len(caplog.messages) == 1

    @pytest.mark.parametrize("known", [True, False])
    def test_a_time_lapse_does_not_jump(self, known: bool, caplog: pytest.LogCaptureFixture) -> None:
        """One frame in 20 s; where the rate is not known the first of its gaps cannot be told from a jump."""
        times = film(steady(30, step=20.0), 20.0 if known else STEP)
        assert np.diff(times)[0 if known else 1 :] == pytest.approx(20.0)
        assert len(caplog.messages) == (0 if known else 1)

    def test_a_gap_of_some_seconds_is_part_of_the_film(self, caplog: pytest.LogCaptureFixture) -> None:
        stamps = [*steady(10), *steady(10, 9.0)]
        assert film(stamps) == pytest.approx(stamps)
        assert caplog.text == ""

    def test_times_rise_whatever_comes(self) -> None:
        rng = np.random.default_rng(1)
        stamps = [float(stamp) for stamp in rng.choice([0, 1, -3, 5, 1e9, -1e9, math.nan, math.inf, 0.04], 2000)]
        assert all(before < after for before, after in pairwise(film(stamps)))


class Camera:
    """Frames that arrive at moments of a clock, and are given when they are due."""

    def __init__(self, clock: LiveClock, now: Clock) -> None:
        self._clock, self._now = clock, now
        self.given: list[float] = []

    def frame(self, stamp: float | None, arrives: float) -> float:
        """The time of a frame that arrives then, or is there already."""
        waited = max(0.0, arrives - self._now.now)
        self._now.now += waited
        moment = self._clock.time(stamp, waited)
        self._now.now = max(self._now.now, moment)
        self.given.append(self._now.now)
        return moment


def camera(stamped: bool = True, paced: bool = False, catches_up: bool = False) -> Camera:
    now = Clock(0.0)
    return Camera(LiveClock(stamped, paced, catches_up, now), now)


class TestLive:
    def test_the_delay_of_the_network_is_not_in_the_times(self) -> None:
        """Frames come up to 80 ms late; their stamps tell when they were taken."""
        rng, door = np.random.default_rng(1), camera()
        times = [
            door.frame(77 + STEP * n, 100 + STEP * n + float(rng.uniform(0, 0.02) + 0.06 * (n % 9 == 0)))
            for n in range(500)
        ]
        assert np.diff(times[50:]) == pytest.approx(STEP, abs=0.01)
        assert all(moment <= given for moment, given in zip(times, door.given, strict=True))

    def test_no_frame_waits(self) -> None:
        door = camera()
        times = [door.frame(STEP * n, 100.0) for n in range(100)]
        assert times == [100.0] * 100

    @pytest.mark.parametrize("slower", [0.999, 1.001])
    def test_a_clock_that_goes_wrong_is_followed(self, slower: float) -> None:
        door = camera()
        for n in range(25 * 3600):
            assert abs(door.frame(STEP * n * slower, 100 + STEP * n) - (100 + STEP * n)) < 0.01

    @pytest.mark.parametrize("jump", [-5000.0, -0.5, 0.0, 5.0, 86400.0])
    def test_a_jump_of_the_stamps_is_none_of_the_times(self, jump: float) -> None:
        door = camera()
        times = [door.frame(STEP * n + jump * (n >= 50), 100 + STEP * n) for n in range(100)]
        assert times == pytest.approx([100 + STEP * n for n in range(100)], abs=0.001)

    def test_a_stream_that_was_held_up_goes_on_in_time(self) -> None:
        door = camera()
        times = [door.frame(STEP * n, 100 + STEP * n + 5.0 * (n >= 50)) for n in range(100)]
        assert times[50:] == pytest.approx([105 + STEP * n for n in range(50, 100)], abs=0.001)

    @pytest.mark.parametrize("stamp", [None, math.nan, 3.0])
    def test_without_stamps_the_time_of_arrival_counts(self, stamp: float | None) -> None:
        for door in (camera(), camera(paced=True), camera(stamped=False), camera(stamped=False, paced=True)):
            assert [door.frame(stamp, at) for at in (1.0, 1.5, 9.0)] == [1.0, 1.5, 9.0]


class TestPaced:
    def test_segments_are_given_frame_by_frame(self) -> None:
        """Three segments are there at once, then one every 2 s, a little late at times."""
        hls = camera(paced=True)
        late = [0.0, 0.3, 0.1, 0.3]
        times = [hls.frame(1e5 + STEP * n, 100 + max(0, n // 50 - 2) * 2 + late[n // 50 % 4]) for n in range(50 * 20)]
        assert np.diff(times) == pytest.approx(STEP)
        assert hls.given == pytest.approx(times)

    def test_a_segment_that_comes_too_late_adds_to_the_delay_once(self) -> None:
        hls = camera(paced=True)
        times = [hls.frame(STEP * n, 100 + n // 50 * 2 + 1.5 * (n >= 100)) for n in range(500)]
        gaps = np.diff(times)
        assert sum(gaps) == pytest.approx(STEP * 499 + 1.5, abs=0.1)
        assert sum(gaps > 2 * STEP) == 1
        assert sum(gaps < STEP / 2) == 0

    @pytest.mark.parametrize("jump", [-3600.0, 4.0, 3600.0])
    def test_a_new_beginning_and_a_skipped_part_are_not_waited_for(self, jump: float) -> None:
        hls = camera(paced=True)
        times = [hls.frame(STEP * n + jump * (n >= 150), 100 + n // 50 * 2) for n in range(500)]
        assert max(np.diff(times)) < 0.1

    def test_a_slow_rate_is_waited_for(self) -> None:
        hls = camera(paced=True)
        times = [hls.frame(3.0 * n, 100.0 + n // 3 * 9) for n in range(30)]
        assert np.diff(times)[3:] == pytest.approx(3.0)  # the first of them show the rate

    def test_a_backlog_is_given_at_once(self) -> None:
        """10 s of it when the stream is opened; from then on frames come in real time."""
        door = camera(paced=True, catches_up=True)
        times = [door.frame(STEP * n, max(100.0, 90 + STEP * n)) for n in range(1000)]
        assert times[:250] == [100.0] * 250
        assert times[251:] == pytest.approx([90 + STEP * n for n in range(251, 1000)], abs=0.001)

    def test_bursts_are_paced_from_the_second_on(self) -> None:
        door = camera(paced=True, catches_up=True)
        times = [door.frame(STEP * n, 100.0 + n // 50 * 2) for n in range(1000)]
        assert np.diff(times[50:]) == pytest.approx(STEP)

    def test_a_delay_that_is_needed_no_more_is_given_up(self) -> None:
        """The network hung for 3 s once: frames are 3 s old from then on, and newer ones wait."""
        door = camera(paced=True, catches_up=True)
        long = round((BACKLOG_S + 20) / STEP)
        ages = []
        for n in range(long):
            taken = 100 + STEP * n
            moment = door.frame(STEP * n, max(taken, 113.0) if n >= 250 else taken)
            ages.append(moment - taken)
        assert ages[400] == pytest.approx(3.0, abs=0.1)
        assert ages[-1] < 0.01

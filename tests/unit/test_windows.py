"""The windows of tracking and voting: as set at usual rates, as long as they need to be at low ones."""

import logging
from collections.abc import Iterable
from itertools import accumulate

import pytest

from edge_app.config.settings import TrackerSettings, VerdictSettings
from edge_app.people.windows import UNSURE_AFTER_S, Windows


def after(times: Iterable[float], **settings: float) -> Windows:
    windows = Windows(TrackerSettings(), VerdictSettings.model_validate(settings), "door")
    for time in times:
        windows.update(time)
    return windows


def in_force(windows: Windows) -> tuple[float, float, float]:
    return windows.window_s, windows.lost_s, windows.unsure_after_s


AS_SET = (1.5, 1.5, UNSURE_AFTER_S)


@pytest.mark.parametrize("fps", [2, 5, 25, 60])
def test_at_usual_rates_the_settings_hold_without_a_word(fps: int, caplog: pytest.LogCaptureFixture) -> None:
    windows = after(())
    for index in range(50):
        windows.update(index / fps)
        assert in_force(windows) == pytest.approx(AS_SET)
    assert caplog.text == ""


@pytest.mark.parametrize(("fps", "expected"), [(1, (3, 3, 3)), (0.5, (6, 6, 6)), (0.1, (30, 30, 30))])
def test_at_low_rates_they_hold_the_votes_of_a_verdict_and_one_line_says_so(
    fps: float, expected: tuple[float, ...], caplog: pytest.LogCaptureFixture
) -> None:
    windows = after([0, 1 / fps])
    assert in_force(windows) == pytest.approx(expected)  # from the second frame on: before that nothing is lost
    for index in range(2, 30):
        windows.update(index / fps)
    assert in_force(windows) == pytest.approx(expected)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"door: about {fps:g} fps is too slow for the windows of time, lengthened: "
        f"verdict.window_s from 1.5 s to {expected[0]:.1f} s, tracker.lost_s from 1.5 s to {expected[1]:.1f} s"
    )


def test_more_votes_take_a_longer_window_at_any_rate() -> None:
    assert in_force(after([index / 25 for index in range(20)], min_votes=100)) == pytest.approx((4, 1.5, 4))


@pytest.mark.parametrize("gap", [20.0, 86_401.0, 1e15])
def test_an_outage_or_a_jump_is_no_rate(gap: float, caplog: pytest.LogCaptureFixture) -> None:
    steps = [0.04] * 20 + [gap] + [0.04] * 20
    windows = after(())
    for time in accumulate(steps):
        windows.update(time)
        assert in_force(windows) == AS_SET
    assert caplog.text == ""


def test_a_rate_that_changes_is_followed_both_ways() -> None:
    windows = after(accumulate([0.04] * 20 + [2.0] * 8))
    assert in_force(windows) == pytest.approx((6, 6, 6))
    for time in accumulate([0.04] * 8, initial=20.0):
        windows.update(time)
    assert in_force(windows) == AS_SET

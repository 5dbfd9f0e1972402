"""Times and counts: the right quantiles, in milliseconds, in bounded memory."""

import json

import pytest

from edge_app.monitor.timings import WINDOW, Metrics, timed


def test_median_and_p95_by_name() -> None:
    collected = Metrics()
    for value in range(1, 101):
        collected.add("detect", float(value))
    collected.add("track", 0.25)
    assert collected.summary() == {
        "detect": {"median_ms": 50.5, "p95_ms": 95.05},
        "track": {"median_ms": 0.25, "p95_ms": 0.25},
    }


def test_nothing_measured_is_an_empty_summary() -> None:
    assert Metrics().summary() == {}


def test_a_long_run_keeps_the_newest_samples_only() -> None:
    collected = Metrics()
    for value in [9000.0] * WINDOW + [1.0] * WINDOW:
        collected.add("detect", value)
    assert collected.summary()["detect"] == {"median_ms": 1.0, "p95_ms": 1.0}


def test_a_summary_is_plain_json() -> None:
    collected = Metrics()
    collected.add("detect", 1.23456)
    assert json.loads(json.dumps(collected.summary())) == {"detect": {"median_ms": 1.235, "p95_ms": 1.235}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 10.25])
    monkeypatch.setattr("edge_app.monitor.timings.time.perf_counter", lambda: next(ticks))


@pytest.mark.usefixtures("clock")
def test_a_block_is_timed_in_milliseconds() -> None:
    timings = {"detect": 1.0}
    with timed(timings, "track"):
        pass
    assert timings == {"detect": 1.0, "track": 250.0}


@pytest.mark.usefixtures("clock")
def test_a_block_that_fails_is_timed_and_its_error_passes() -> None:
    timings: dict[str, float] = {}
    with pytest.raises(KeyError), timed(timings, "track"):
        raise KeyError
    assert timings == {"track": 250.0}

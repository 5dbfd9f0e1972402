"""The benchmark of live cameras measures what it says; what it measures is for whoever runs it on a quiet machine."""

import json
import sys

import pytest

from tests import live_benchmark
from tests.media import Pixels

pytestmark = pytest.mark.slow


def test_ages_are_told_beside_those_of_a_plain_loop(
    astronaut: Pixels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["live_benchmark", "work", "--minutes", "0.1"])
    assert live_benchmark.main() == 0
    found = json.loads(capsys.readouterr().out)["work"]
    (ours,) = found["edge_app"].values()
    assert ours["n"] > 10
    assert found["plain loop"]["n"] == live_benchmark.PLAIN_FRAMES
    # The loop is 40 ms and more behind with every frame that it reads; that is arithmetic, whatever the machine.
    assert found["plain loop"]["max"] > ours["median"]
    quarters = found["plain loop"]["medians of quarters"]
    assert quarters == sorted(quarters)


def test_restarts_and_the_memory_of_a_whole_run_are_told(
    astronaut: Pixels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live_benchmark, "REBOOTS", 3)
    monkeypatch.setattr(sys, "argv", ["live_benchmark", "reconnects", "soak", "--minutes", "0.06"])
    assert live_benchmark.main() == 0
    restarts, soak = map(json.loads, capsys.readouterr().out.splitlines())
    assert restarts["reconnects"]["reconnects"] == 3
    assert restarts["reconnects"]["after the last"]["RSS MiB"] > 20
    assert soak["soak"]["exit code"] == 0
    assert soak["soak"]["frames"] > 0

"""The parts every training shares: budget, rates, averaging, checkpoints, curves, the data folder."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.workshop import leave, missing

if reason := missing("torch", "matplotlib"):
    leave(reason)

import torch

from export.common.hyperparameters import Hyperparameters
from export.common.muon import Muon
from export.common.run import Run
from export.common.shared import shared_data
from export.common.training import (
    Budget,
    Curve,
    average_checkpoints,
    cosine_rate,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
    update_ema,
)


class TestBudget:
    @pytest.fixture
    def clock(self) -> list[float]:
        return [100.0]

    def test_it_runs_from_zero_to_one_and_stays_there(self, clock: list[float]) -> None:
        budget = Budget(minutes=2, clock=lambda: clock[0])
        assert (budget.spent, budget.fraction) == (0, 0)
        clock[0] += 30
        assert (budget.spent, budget.fraction) == (30, 0.25)
        clock[0] += 300
        assert (budget.spent, budget.fraction) == (330, 1)

    def test_a_resumed_run_counts_what_was_spent_before(self, clock: list[float]) -> None:
        budget = Budget(minutes=2, spent=90, clock=lambda: clock[0])
        assert budget.fraction == 0.75
        clock[0] += 30
        assert (budget.spent, budget.fraction) == (120, 1)

    def test_a_schedule_begun_again_runs_from_zero_to_one_over_the_rest(self, clock: list[float]) -> None:
        budget = Budget(minutes=3, spent=60, origin=60, clock=lambda: clock[0])
        assert (budget.spent, budget.fraction) == (60, 0)
        clock[0] += 30
        assert (budget.spent, budget.fraction) == (90, 0.25)
        clock[0] += 90
        assert (budget.spent, budget.fraction) == (180, 1)


class TestCosineRate:
    @pytest.mark.parametrize(
        ("fraction", "expected"),
        [(0.0, 0.04), (0.05, 1.0), (0.1, 2.0), (0.55, 2 * (0.01 + 0.495)), (1.0, 0.02)],
    )
    def test_values(self, fraction: float, expected: float) -> None:
        assert cosine_rate(2.0, 0.1, fraction) == pytest.approx(expected)

    def test_it_only_falls_after_the_warm_up(self) -> None:
        rates = [cosine_rate(1.0, 0.1, f) for f in np.linspace(0.1, 1, 50)]
        assert all(a > b for a, b in itertools.pairwise(rates))


def test_averaging_keeps_the_last_run_and_means_the_weights(tmp_path: Path) -> None:
    for number, minutes, teachers, where in ((1, 10, ["a", "b"], ["cuda"]), (3, 25, ["c", "a"], ["cuda", "cpu"])):
        net = torch.nn.BatchNorm1d(2)
        with torch.no_grad():
            net.weight.fill_(number)
            net.running_mean.fill_(10 * number)
            net.num_batches_tracked.fill_(number)
        state = {"average": net.state_dict(), "spent": minutes * 60, "step": number, "seed": number - 1}
        state |= {"teachers": teachers, "where": where}
        save_checkpoint(tmp_path / f"{number}.pt", state)
    mean = average_checkpoints([tmp_path / "1.pt", tmp_path / "3.pt"])
    assert (mean["step"], mean["spent"]) == (3, 1500)
    assert mean["averaged"] == ["10 minutes of seed 0", "25 minutes of seed 2"]
    assert (mean["teachers"], mean["where"]) == (["a", "b", "c"], ["cuda", "cpu"])
    assert mean["average"]["weight"].tolist() == [2, 2]
    assert mean["average"]["running_mean"].tolist() == [20, 20]
    assert int(mean["average"]["num_batches_tracked"]) == 3


def test_follow_moves_weights_and_copies_counters() -> None:
    average, net = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        average.weight.fill_(0)
        net.weight.fill_(1)
        net.running_mean.fill_(8)
        net.num_batches_tracked.fill_(7)
    update_ema(average, net, 0.75)
    assert average.weight.tolist() == [0.25, 0.25]
    assert average.running_mean.tolist() == [2.0, 2.0]
    assert int(average.num_batches_tracked) == 7
    assert net.weight.tolist() == [1, 1]


def test_a_seed_repeats_every_generator() -> None:
    draws = []
    for seed in (3, 3, 4):
        seed_everything(seed)
        draws.append((float(torch.rand(1)), float(np.random.rand())))  # noqa: NPY002
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[2][0]
    assert draws[0][1] != draws[2][1]


class TestCheckpoint:
    def test_there_and_back(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "checkpoint.pt"
        save_checkpoint(path, {"net": {"w": torch.arange(3.0)}, "step": 5})
        state = load_checkpoint(path)
        assert state is not None
        assert (state["net"]["w"].tolist(), state["step"]) == ([0, 1, 2], 5)
        assert [p.name for p in path.parent.iterdir()] == ["checkpoint.pt"]

    def test_none_yet(self, tmp_path: Path) -> None:
        assert load_checkpoint(tmp_path / "checkpoint.pt") is None

    def test_a_write_that_fails_half_way_leaves_the_last_one(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        save_checkpoint(path, {"step": 1})
        with pytest.raises(Exception, match="lambda"):
            save_checkpoint(path, {"w": torch.zeros(1000), "step": lambda: 2})  # a function cannot be stored
        assert load_checkpoint(path) == {"step": 1}
        save_checkpoint(path, {"step": 3})
        assert load_checkpoint(path) == {"step": 3}


class TestCurve:
    def test_rows_survive_a_resume_and_columns_may_come_later(self, tmp_path: Path) -> None:
        path = tmp_path / "run" / "curve.csv"
        Curve(path).add(minutes=1, loss=0.5)
        Curve(path).add(minutes=2, loss=0.25, accuracy=0.123456789)
        assert Curve(path).rows() == [
            {"minutes": "1", "loss": "0.5", "accuracy": ""},
            {"minutes": "2", "loss": "0.25", "accuracy": "0.123457"},
        ]

    def test_it_draws_a_panel_a_column(self, tmp_path: Path) -> None:
        curve = Curve(tmp_path / "curve.csv")
        widths = []
        for row in ({"minutes": 1.0, "loss": 0.5}, {"minutes": 2.0, "loss": 0.4, "accuracy": 0.9}):
            curve.add(**row)
            curve.plot(tmp_path / "curve.png")
            image = cv2.imread(str(tmp_path / "curve.png"))
            assert image is not None
            widths.append(image.shape[1])
        assert widths[1] == 2 * widths[0]

    def test_nothing_to_draw(self, tmp_path: Path) -> None:
        Curve(tmp_path / "curve.csv").plot(tmp_path / "curve.png")
        assert not (tmp_path / "curve.png").exists()


def test_where_the_shared_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_APP_SHARED", str(tmp_path))
    assert shared_data() == tmp_path / "data"
    monkeypatch.delenv("EDGE_APP_SHARED")
    assert shared_data() == ROOT.parent / "shared" / "data"


class TestMuon:
    RATE, DECAY = 0.01, 0.1

    @staticmethod
    def net() -> torch.nn.Sequential:
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(8, 16, 3, bias=False), torch.nn.BatchNorm2d(16), torch.nn.Conv2d(16, 4, 1)]
        return torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def test_a_kernel_moves_the_same_way_in_every_direction(self) -> None:
        net = self.net()
        optimizer = Muon(net, self.RATE, self.DECAY)
        before = net[0].weight.detach().clone()
        optimizer.zero_grad()
        net(torch.randn(2, 8, 12, 12)).square().mean().backward()
        gradient = net[0].weight.grad.clone()
        optimizer.step()
        moved = (net[0].weight.detach() - before * (1 - self.RATE * self.DECAY)).flatten(1)
        spread = torch.linalg.svdvals(moved / self.RATE) / (0.2 * 72**0.5)  # AdamW's length, by the larger side
        assert spread.min() > 0.4
        assert spread.max() < 1.4
        assert (moved * gradient.flatten(1)).sum() < 0  # downhill

    def test_what_is_no_kernel_is_adamws_and_does_not_decay(self) -> None:
        net = self.net()
        optimizer = Muon(net, self.RATE, self.DECAY)
        optimizer.zero_grad()
        (net[1].weight[0] * 3).backward()
        optimizer.step()
        assert net[1].weight[0].item() == pytest.approx(1 - self.RATE, abs=1e-4)
        assert (net[1].weight[1:] == 1).all()

    def test_a_depthwise_kernel_is_adamws_too(self) -> None:
        torch.manual_seed(0)
        layer = torch.nn.Conv2d(8, 8, 3, groups=8, bias=False).to(memory_format=torch.channels_last)
        optimizer = Muon(torch.nn.Sequential(layer, torch.nn.Conv2d(8, 4, 1)), self.RATE, self.DECAY)
        before = layer.weight.detach().clone()
        optimizer.zero_grad()
        (layer.weight[0] * torch.randn(3, 3)).sum().backward()  # of one channel: no other moves
        optimizer.step()
        moved = layer.weight.detach() - before
        assert moved[0].abs().numpy() == pytest.approx(self.RATE, abs=1e-4)
        assert not moved[1:].any()

    def test_rates_are_set_through_the_groups(self) -> None:
        net = self.net()
        optimizer = Muon(net, self.RATE, self.DECAY)
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        before = [p.detach().clone() for p in net.parameters()]
        net(torch.randn(2, 8, 12, 12)).sum().backward()
        optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))

    def test_kernels_whose_channels_do_not_lie_last_are_refused(self) -> None:
        with pytest.raises(RuntimeError, match="view"):
            Muon(torch.nn.Sequential(torch.nn.Conv2d(8, 16, 3)), self.RATE, self.DECAY)


class TestRun:
    GIVEN = Hyperparameters(
        batch=1, rate=0.1, weight_decay=0.0, warmup=0.01, ema_decay=0.9, gradient_clip=1.0, restart=0.3
    )

    @pytest.fixture
    def clock(self) -> list[float]:
        return [100.0]

    def run(self, out: Path, minutes: float, clock: list[float], restart: bool = False) -> Run:
        """Three steps a minute."""
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).to(
            memory_format=torch.channels_last
        )
        state = load_checkpoint(out / "checkpoint.pt")
        run = Run(out, net, self.GIVEN, minutes, state, restart, {"width": 8}, clock=lambda: clock[0])
        for _ in run:
            clock[0] += 20
            run.learn({"a": net(torch.ones(1, 3, 8, 8)).mean(), "b": torch.zeros(())}, right=0.5)
        return run

    def test_it_ends_with_its_budget_and_leaves_a_checkpoint(self, tmp_path: Path, clock: list[float]) -> None:
        run = self.run(tmp_path, 2, clock)
        state = load_checkpoint(run.path)
        assert state is not None
        assert (state["step"], state["spent"], state["origin"], state["width"]) == (6, 120, 0, 8)
        assert Hyperparameters.recorded(state) == self.GIVEN
        rows = Curve(tmp_path / "curve.csv").rows()
        assert [(r["minutes"], r["step"], r["b"], r["right"]) for r in rows] == [("2", "6", "0", "0.5")]
        assert not torch.equal(state["net"]["0.weight"], state["average"]["0.weight"])

    @pytest.mark.parametrize("state", [None, {}, {"hyperparameters": {"batch": 1, "of_another_version": 2}}])
    def test_a_checkpoint_may_hold_no_hyperparameters_or_others(self, state: dict[str, object] | None) -> None:
        assert Hyperparameters.recorded(state) is None

    def test_it_goes_on_in_its_schedule(self, tmp_path: Path, clock: list[float]) -> None:
        self.run(tmp_path, 2, clock)
        run = self.run(tmp_path, 3, clock)
        assert (run.step, run.budget.spent, run.budget.origin, run.peak) == (9, 180, 0, self.GIVEN.rate)
        assert run.optimizer.adam.state_dict()["state"][0]["step"] == 9

    def test_it_begins_its_schedule_again_at_the_averaged_net(self, tmp_path: Path, clock: list[float]) -> None:
        before = load_checkpoint(self.run(tmp_path, 2, clock).path)
        assert before is not None
        net = self.run(tmp_path, 2, clock, restart=True).net  # nothing of the budget is left: no step
        assert torch.equal(net.state_dict()["0.weight"], before["average"]["0.weight"])
        run = self.run(tmp_path, 3, clock, restart=True)
        assert (run.step, run.budget.origin, run.peak) == (9, 120, self.GIVEN.rate * self.GIVEN.restart)
        assert run.optimizer.adam.state_dict()["state"][0]["step"] == 3

    def test_a_net_trained_before_has_the_same_rate_as_one_begun_again(self, tmp_path: Path) -> None:
        net = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        run = Run(tmp_path, net, self.GIVEN, 2, None, trained=True)
        assert run.peak == self.GIVEN.rate * self.GIVEN.restart

    def test_no_minutes_leave_the_net_at_the_start(self, tmp_path: Path, clock: list[float]) -> None:
        run = self.run(tmp_path, 0, clock)
        state = load_checkpoint(run.path)
        assert state is not None
        assert (state["step"], state["spent"]) == (0, 0)
        assert torch.equal(state["average"]["0.weight"], run.net.state_dict()["0.weight"])

    def test_a_budget_that_is_spent_changes_nothing(self, tmp_path: Path, clock: list[float]) -> None:
        path = self.run(tmp_path, 2, clock).path
        before = path.read_bytes()
        self.run(tmp_path, 1, clock)
        assert path.read_bytes() == before
        assert len(Curve(tmp_path / "curve.csv").rows()) == 1

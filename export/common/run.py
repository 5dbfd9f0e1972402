"""The training loop of any model: steps until the budget is spent, averaged weights, checkpoints, a learning curve."""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from export.common.hyperparameters import KEY, Hyperparameters
from export.common.muon import Muon
from export.common.training import Budget, Curve, cosine_rate, save_checkpoint, update_ema

CHECKPOINT_S = 120


class Run:
    """Iterate over it to train, and call `learn` once per iteration; yields the elapsed share of the schedule, 0..1.

    Args:
        out: folder for checkpoint.pt, curve.csv and curve.png.
        net: in `torch.channels_last`.
        minutes: of all resumed runs together.
        state: the checkpoint to resume from.
        hyperparameters: those of its schedule and optimizer are used; all are kept in the checkpoint.
        restart: warm restart of the schedule at the checkpoint's averaged net, with `restart` of the peak rate.
        facts: further entries of the checkpoint.
        optimizer: of the net's parameters; None: `Muon`.
        trained: the net is finetuned: its schedule too has `restart` of the peak rate.
        clock: gives seconds; monotonic.
    """

    def __init__(
        self, out: Path, net: nn.Module, hyperparameters: Hyperparameters, minutes: float, state: dict[str, Any] | None,
        restart: bool = False, facts: dict[str, Any] | None = None, optimizer: torch.optim.Optimizer | None = None,
        trained: bool = False, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.net, self.average, self.hyperparameters = net, copy.deepcopy(net), hyperparameters
        self.facts = facts or {}
        self.path, self.curve, self.plot = out / "checkpoint.pt", Curve(out / "curve.csv"), out / "curve.png"
        self.optimizer = optimizer or Muon(net, hyperparameters.rate, hyperparameters.weight_decay)
        self.step, spent, origin = 0, 0.0, 0.0
        if state:
            net.load_state_dict(state["average" if restart else "net"])
            self.average.load_state_dict(state["average"])
            self.step, spent = state["step"], state["spent"]
            origin = spent if restart else state.get("origin", 0.0)
            if not restart:
                self.optimizer.load_state_dict(state["optimizer"])
        self.budget = Budget(minutes, spent, origin, clock)
        self.peak = hyperparameters.rate * (hyperparameters.restart if origin or trained else 1)
        self.sums: dict[str, float] = {}
        self.since, self.saved, self.loss = 0, clock(), 0.0

    def __iter__(self) -> Iterator[float]:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        with Progress(*columns, TimeRemainingColumn()) as progress:
            bar = progress.add_task("training", total=self.budget.seconds, completed=int(self.budget.spent), text="")
            while (fraction := self.budget.fraction) < 1:
                yield fraction
                progress.update(bar, completed=self.budget.spent, text=f"step {self.step} loss {self.loss:.3f}")
        if self.since or not self.path.is_file():  # no step taken: the initial weights, to be averaged with others
            self.save()

    def learn(self, parts: dict[str, Tensor], **seen: float) -> None:
        """One optimizer step on the sum of the loss terms; the curve gets the mean of each term and of `seen`."""
        for group in self.optimizer.param_groups:
            group["lr"] = cosine_rate(self.peak, self.hyperparameters.warmup, self.budget.fraction)
        costs = torch.stack(list(parts.values()))
        self.optimizer.zero_grad()
        costs.sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.hyperparameters.gradient_clip)
        self.optimizer.step()
        update_ema(self.average, self.net, min(self.hyperparameters.ema_decay, (1 + self.step) / (20 + self.step)))
        values = costs.tolist()  # one synchronisation with the GPU
        self.step, self.since, self.loss = self.step + 1, self.since + 1, sum(values)
        for name, value in {**dict(zip(parts, values, strict=True)), **seen}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        if self.budget.clock() - self.saved > CHECKPOINT_S:
            self.save()

    def save(self) -> None:
        means = {name: total / self.since for name, total in self.sums.items()}
        self.curve.add(minutes=self.budget.spent / 60, step=self.step, **means)
        self.curve.plot(self.plot)
        save_checkpoint(
            self.path,
            {"net": self.net.state_dict(), "average": self.average.state_dict(),
             "optimizer": self.optimizer.state_dict(), "step": self.step, "spent": self.budget.spent,
             "origin": self.budget.origin, KEY: self.hyperparameters.record(), **self.facts},
        )  # fmt: skip
        self.sums, self.since, self.saved = {}, 0, self.budget.clock()

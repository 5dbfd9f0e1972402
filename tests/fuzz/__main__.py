"""The runner: makes the inputs, gives them to commands side by side, and prints what went wrong and a table."""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.fuzz import clips, configurations, models, pictures
from tests.fuzz.command import PATIENCE_S, Sandbox
from tests.fuzz.result import Result


class Kind(Protocol):
    """A module of this package. BATCH: inputs of one command."""

    BATCH: int
    make: Callable[[int, random.Random, Path], Path]
    judge: Callable[[list[Path], Sandbox, float], Result]


KINDS: dict[str, Kind] = {"pictures": pictures, "clips": clips, "configurations": configurations, "models": models}  # type: ignore[dict-item]
FULL = {"pictures": 2000, "clips": 300, "configurations": 500, "models": 300}


@dataclass(frozen=True)
class Plan:
    """keep: folder for the inputs of what fails. first: number of the first input."""

    seed: int = 0
    first: int = 0
    patience_s: float = PATIENCE_S
    jobs: int = 2
    keep: Path | None = None


@dataclass
class Report:
    """One row of the table; failures: `kind number: what`, one for each input or batch that failed."""

    kind: str
    count: int
    failures: list[str]
    seconds: float
    peak_mib: float


def fuzz(name: str, count: int, plan: Plan) -> Report:
    """Judge inputs `first` to `first + count` of a seed."""
    kind = KINDS[name]
    numbers = range(plan.first, plan.first + count)
    batches = [list(numbers[i : i + kind.BATCH]) for i in range(0, count, kind.BATCH)]
    report = Report(name, count, [], 0.0, 0.0)
    with ThreadPoolExecutor(plan.jobs) as pool:
        for failures, result in pool.map(lambda batch: _batch(name, batch, plan), batches):
            report.failures += failures
            report.seconds = max(report.seconds, result.seconds)
            report.peak_mib = max(report.peak_mib, result.peak_mib)
    return report


def _batch(name: str, numbers: list[int], plan: Plan) -> tuple[list[str], Result]:
    """Judge inputs together, and where that fails by halves, to name those at fault."""
    result = _judge(name, numbers, plan)
    if not result.faults:
        return [], result
    who = f"{name} {numbers[0]}"
    if len(numbers) > 1:
        half = len(numbers) // 2
        guilty = [line for part in (numbers[:half], numbers[half:]) for line in _batch(name, part, plan)[0]]
        if guilty:
            return guilty, result
        who += f" to {numbers[-1]}, only together"
    return [f"{who}: {fault}" for fault in result.faults], result


def _judge(name: str, numbers: list[int], plan: Plan) -> Result:
    kind = KINDS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        box = Sandbox(Path(folder))
        paths = [kind.make(n, random.Random(f"{name} {plan.seed} {n}"), box.inputs) for n in numbers]
        result = kind.judge(paths, box, plan.patience_s)
        if result.faults and plan.keep and (len(numbers) == 1 or kind.BATCH == 1):
            target = plan.keep / f"{name}-{plan.seed}-{numbers[0]}"
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(box.folder, target, symlinks=True)
    return result


def table(reports: list[Report]) -> Iterator[str]:
    yield f"{'kind':<16}{'count':>7}{'failures':>10}{'slowest s':>11}{'peak MiB':>10}"
    for row in reports:
        yield f"{row.kind:<16}{row.count:>7}{len(row.failures):>10}{row.seconds:>11.1f}{row.peak_mib:>10.0f}"


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    words.add_argument("kind", nargs="?", choices=list(KINDS), help="all, where it is left out")
    words.add_argument("--count", type=int, help=f"inputs; else {FULL}")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--first", type=int, default=0, help="number of the first input")
    words.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands side by side")
    words.add_argument("--patience", type=float, default=PATIENCE_S, metavar="S", help="without a line; else it hangs")
    words.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the inputs and outputs of what fails")
    given = words.parse_args()
    plan = Plan(given.seed, given.first, given.patience, given.jobs, given.keep)
    reports = []
    for name in [given.kind] if given.kind else KINDS:
        reports.append(fuzz(name, given.count or FULL[name], plan))
        for failure in reports[-1].failures:
            print(failure, flush=True)
    print(*table(reports), sep="\n")
    return 1 if any(report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())

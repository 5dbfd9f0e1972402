"""What one command did with its inputs."""

from dataclasses import dataclass
from typing import Self

from tests.fuzz.command import Outcome


@dataclass
class Result:
    faults: list[str]
    seconds: float
    peak_mib: float

    @classmethod
    def of(cls, outcome: Outcome, faults: list[str]) -> Self:
        return cls([*outcome.faults, *faults], outcome.seconds, outcome.peak_mib)

    def __add__(self, other: "Result") -> "Result":
        return Result(self.faults + other.faults, max(self.seconds, other.seconds), max(self.peak_mib, other.peak_mib))

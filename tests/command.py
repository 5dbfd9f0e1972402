"""The command line as a process that tests watch while it runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

COMMAND = [sys.executable, "-m", "edge_app"]
ROOT = Path(__file__).resolve().parents[1]


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of edge_app, what it set itself, and a display."""
    ours = ("EDGE_APP_", "ORT_")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours) and k != "DISPLAY"}
    return {**clean, "PYTHONPATH": str(ROOT), **extra}


class Running:
    """`edge-app ARGUMENTS` in `folder`, its two streams kept in files there. Leaving the context kills it."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._out, self._err = folder / "stdout.txt", folder / "stderr.txt"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)], cwd=folder, env=environment(), stdout=out, stderr=err
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait for something the running command does; it is a failure if it ends first."""
        try:
            wait_until(lambda: condition() or self.process.poll() is not None, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; it wrote:\n{self.err}") from None
        assert condition(), f"ended with {self.process.returncode} before {what}:\n{self.err}"

    def finish(self, number: signal.Signals | None = None, seconds: float = 60) -> int:
        """Send a signal, if any, and give the exit code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()


def held(process: int | str = "self") -> dict[str, int]:
    """What of the system a process holds, this one unless another is named."""
    folder = Path(f"/proc/{process}")
    return {name: len(list((folder / kind).iterdir())) for name, kind in (("threads", "task"), ("open files", "fd"))}


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)

"""One command in a sandbox: what it wrote, how long it took, how much memory, and what it left behind."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.command import environment

PATIENCE_S = 10.0  # the longest that a command may go without writing a line
_MARK = "FUZZ_MARK"
_OUR_LINES = re.compile(r"(error|warning): |stopping: |pictures: \d+, faces: |.*: frame \d+(/\d+)?  ")


@dataclass
class Outcome:
    """code: None where it was ended because it hung. faults: what no input may do to a command."""

    code: int | None
    out: str
    err: str
    seconds: float
    peak_mib: float
    faults: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    def json_lines(self) -> list[Any]:
        return [strict_json(line) for line in self.out.splitlines()]


def strict_json(text: str) -> Any:
    """JSON as the standard has it: no NaN, no Infinity. Raises ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


class Sandbox:
    """A folder with an empty HOME, a working folder, a folder for temporary files, and one for the inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs, self.work = folder / "in", folder / "work"
        self._home, self._temporary = folder / "home", folder / "tmp"
        for each in (self.inputs, self.work, self._home, self._temporary):
            each.mkdir(parents=True)

    def run(
        self,
        words: Sequence[object],
        *,
        outputs: Callable[[str], bool] = lambda _name: False,
        module: str = "edge_app",
        ceiling_mib: float = 2048,
        patience_s: float = PATIENCE_S,
        extra: dict[str, str] | None = None,
    ) -> Outcome:
        """Run `python -m edge_app WORDS` and look at everything it did.

        outputs: whether a file of the working folder, by its path in it, was asked for.
        """
        before, mark = self._tree(), uuid.uuid4().hex
        env = environment(HOME=str(self._home), TMPDIR=str(self._temporary), **{_MARK: mark}, **(extra or {}))
        out, err = self.folder / "stdout", self.folder / "stderr"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, words)],
                cwd=self.work, env=env, stdin=subprocess.DEVNULL, stdout=out_file, stderr=err_file,
                start_new_session=True,
            )  # fmt: skip
            code, seconds, peak = _attend(process, [out, err], patience_s)
        texts = [path.read_bytes().decode("utf-8", errors="surrogateescape") for path in (out, err)]
        outcome = Outcome(code, *texts, seconds, peak)
        outcome.faults += _faults(outcome, patience_s, ceiling_mib)
        outcome.faults += [f"left a process: {name}" for name in _end_what_is_left(mark)]
        for name, kind in sorted((before | (after := self._tree())).items()):
            if before.get(name) == after.get(name):
                continue
            what = "made" if name not in before else "removed" if name not in after else "changed"
            if not (name.startswith("work/") and outputs(name.removeprefix("work/"))):
                outcome.faults.append(f"{what} {name} ({kind[:12]})")
        return outcome

    def _tree(self) -> dict[str, str]:
        found = {}
        for each in (self.inputs, self.work, self._home, self._temporary):
            for path in each.rglob("*"):
                name = str(path.relative_to(self.folder))
                if path.is_file() and not path.is_symlink():
                    found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
                elif not (path.is_dir() and each == self.work):
                    found[name] = "no file"
        return found


def _attend(
    process: subprocess.Popen[bytes], streams: list[Path], patience_s: float
) -> tuple[int | None, float, float]:
    """Wait for the end, or end it when it has written nothing for so long. Gives exit code, seconds, peak in MiB."""
    began = last = time.monotonic()
    done: list[Any] = []
    waiter = threading.Thread(target=lambda: done.append(os.wait4(process.pid, 0)), daemon=True)
    waiter.start()
    sizes, hung, seen = [0, 0], False, 0.0
    while waiter.is_alive():
        waiter.join(0.05)
        seen = max(seen, _peak_mib(process.pid))
        now = [stream.stat().st_size for stream in streams]
        if now != sizes:
            sizes, last = now, time.monotonic()
        if not hung and time.monotonic() - last > patience_s:
            hung = True
            os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = done[0]
    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
    # What the system says at the end counts from the peak of this process on, from which that one was started.
    peak = usage.ru_maxrss / 1024
    return None if hung else process.returncode, time.monotonic() - began, peak if peak > _peak_mib() else seen


def _peak_mib(process: int | str = "self") -> float:
    """Peak memory so far; 0 of a process that has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
    return 0.0


def _faults(outcome: Outcome, patience_s: float, ceiling_mib: float) -> list[str]:
    found = []
    if outcome.code is None:
        found.append(f"hung: nothing written for {patience_s:g} s")
    elif outcome.code < 0:
        found.append(f"crashed: {signal.Signals(-outcome.code).name}")
    elif outcome.code not in (0, 2, 3, 4, 5):
        found.append(f"exit code {outcome.code}")
    for word in ("Traceback", "unexpected "):
        if word in outcome.err:
            found.append(f"{word!r} on stderr: {_last(outcome.err)}")
    for line in outcome.err.splitlines():
        if not line.isprintable():
            found.append(f"control characters on stderr: {ascii(line)[:200]}")
        elif not _OUR_LINES.match(line):
            found.append(f"a line on stderr that is not ours: {line[:200]}")
    if outcome.peak_mib > ceiling_mib:
        found.append(f"{outcome.peak_mib:.0f} MiB, over {ceiling_mib:g}")
    return found


def one_error(outcome: Outcome) -> list[str]:
    """For a command on one input: it ends with 0, or with one error line."""
    wanted = 0 if outcome.code == 0 else 1
    if outcome.code is not None and outcome.code > 0 and len(outcome.errors) != wanted:
        return [f"exit code {outcome.code} with {len(outcome.errors)} error lines"]
    return []


def _last(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:200]


def _end_what_is_left(mark: str) -> list[str]:
    """Processes that carry the mark, wherever they hid; they are ended."""
    wanted, found = f"{_MARK}={mark}".encode(), []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                found.append(b" ".join(words).decode(errors="replace")[:120])
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:  # ended meanwhile, or not ours
            continue
    return found

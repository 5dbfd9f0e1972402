"""What the commands print: progress and status on stderr, results on stdout.

Results that are piped into another program stay machine-readable that way. Nothing here decides anything.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edge_app.errors import SinkError

_WIDE = 200  # characters; width of tables that go into a file or pipe
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "mask": "green", "no_mask": "bold red"}


class OutputClosed(Exception):
    """Whoever read our standard output has gone, as with `| head`; not an error."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise OutputClosed


def _console(stderr: bool = False) -> _Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return _Console(stderr=stderr, width=width, markup=False, highlight=False, emoji=False)


def line(text: str = "") -> None:
    """One whole line on standard output, at once."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise SinkError(f"standard output cannot be written ({error.strerror})") from None


def to_json(value: Any, indent: int | None = None) -> None:
    line(json.dumps(value, indent=indent))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table on standard output; cells that hold a label or a status are coloured."""
    grid = Table(*columns, title=title, title_justify="left", header_style="bold")
    for row in rows:
        grid.add_row(*(Text(cell, style=_STYLES.get(cell, ""), overflow="fold") for cell in row))
    try:
        _console().print(grid)
    except OSError as error:
        raise SinkError(f"standard output cannot be written ({error.strerror})") from None


class RunState(Protocol):
    """What a running pipeline tells about itself."""

    @property
    def frames(self) -> int: ...
    @property
    def total(self) -> int | None: ...
    @property
    def fps(self) -> float: ...
    @property
    def persons(self) -> int: ...
    @property
    def verdicts(self) -> Mapping[str, int]: ...
    @property
    def frame_age_ms(self) -> float: ...
    @property
    def dropped_frames(self) -> int: ...


def status(state: RunState) -> str:
    """`61.2 fps  2 persons  1 mask  1 no_mask  0 unsure`, and for a live source `  age 40 ms  3 dropped`."""
    words = [f"{state.fps:.1f} fps", _count(state.persons, "person"), _verdicts(state.verdicts)]
    if state.total is None:
        words += [f"age {state.frame_age_ms:.0f} ms", f"{state.dropped_frames} dropped"]
    return "  ".join(words)


def _verdicts(counts: Mapping[str, int], separator: str = "  ") -> str:
    return separator.join(f"{counts.get(label, 0)} {label}" for label in ("mask", "no_mask", "unsure"))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class ProgressView:
    """Shows a running pipeline: a bar or a live line on a terminal, else a line every few seconds."""

    def __init__(self, name: str, interval_s: float = 2.0) -> None:
        self._name, self._interval_s, self._next = name, interval_s, 0.0
        self._bar: Progress | None = None

    def __call__(self, state: RunState) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        if sys.stderr.isatty():
            self._next = now + 0.1
            self._show_bar(state)
        else:
            self._next = now + self._interval_s
            of = f"/{state.total}" if state.total else ""
            print(f"{self._name}: frame {state.frames}{of}  {status(state)}", file=sys.stderr, flush=True)

    def _show_bar(self, state: RunState) -> None:
        if self._bar is None:
            known = (BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
            columns = known if state.total else (SpinnerColumn("line"), TextColumn("frame {task.completed}"))
            self._bar = Progress(
                TextColumn("{task.fields[source]}", markup=False),
                *columns,
                TextColumn("{task.fields[status]}", markup=False),
                console=_console(stderr=True),
            )
            self._bar.add_task("", total=state.total, source=self._name, status="")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=state.frames, total=state.total, status=status(state))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def progress(name: str) -> Iterator[ProgressView]:
    view = ProgressView(name)
    try:
        yield view
    finally:
        view.close()


def summary(facts: Mapping[str, Any]) -> None:
    """The end of a run, from `Summary.to_dict()`."""
    rows = [
        ("source", facts["source"]),
        ("frames", f"{facts['frames']} in {facts['seconds']:.1f} s, {facts['fps']:.1f} fps"),
        ("persons", str(facts["persons"])),
        ("verdicts", _verdicts(facts["verdicts"], ", ")),
        ("events", str(facts["events"])),
    ]
    if told := facts.get("told"):
        rows.insert(4, ("told", f"{_verdicts(told, ', ')} (first verdicts and changes)"))
    losses = {name: facts[name] for name in ("dropped_frames", "reconnects", "sink_errors") if facts[name]}
    rows += [(name.replace("_", " "), str(number)) for name, number in losses.items()]
    for camera in facts.get("cameras", ()):
        told_of = f"{camera['frames']} frames, {camera['fps']:.1f} fps, {_count(camera['persons'], 'person')}"
        rows.append((f"{camera['camera']}", f"{told_of}, {camera['events']} events"))
        rows += [(f"{name} file", str(path)) for name, path in camera["outputs"].items() if path]
    rows += [(f"{name} file", str(path)) for name, path in facts["outputs"].items() if path]
    line("interrupted" if facts["interrupted"] else "done")
    for name, value in rows:
        line(f"  {name:<14} {value}")


def silence_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass

"""What the commands print: progress and status on stderr, results on stdout.

Results that are piped into another program stay machine-readable that way. Nothing here decides anything.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from edge_app.runtime.standard_streams import settle_messages, wait_for_room
from edge_app.text import printable

_WIDE = 200  # characters; width of tables that go into a file or pipe, where COLUMNS does not say otherwise
_WIDEST = 100_000  # characters; no cell is as wide
_BAR = 24 + 1 + 5  # characters that the bar and the time take more than a spinner
_NAME = 6  # characters; less of a name says nothing
_PATIENCE_S = 5.0  # for whoever reads standard output, once a run is over
_STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "mask": "green", "no_mask": "bold red"}


def _console(stderr: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    columns = os.environ.get("COLUMNS", "")
    wide = None if stream.isatty() or (columns.isdecimal() and int(columns)) else _WIDE  # None: Rich finds out
    return Console(stderr=stderr, width=wide, markup=False, highlight=False, emoji=False)


def line(text: str = "") -> None:
    """One whole line on standard output, at once."""
    sys.stdout.write(f"{printable(text)}\n")
    sys.stdout.flush()


def to_json(value: Any, indent: int | None = None) -> None:
    sys.stdout.write(f"{json.dumps(value, indent=indent)}\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output; cells that hold a label or a status are coloured.

    Words stay whole: where the table is too wide for that it loses its lines, then each cell gets a line of its own.
    """
    console = _console()
    heads = [Text(name, style="bold") for name in columns]
    cells = [[Text(printable(cell), style=_STYLES.get(cell, ""), overflow="fold") for cell in row] for row in rows]
    ranges = [_range(console, column) for column in zip(heads, *cells, strict=True)]
    for grid, lines in (
        (Table(), 3 * len(columns) + 1),
        (Table(box=None, padding=(0, 2, 0, 0), pad_edge=False), 2 * len(columns)),
    ):
        if widths := _widths(ranges, console.width - lines):
            for head, width in zip(heads, widths, strict=True):
                grid.add_column(head, width=width)
            for row in cells:
                grid.add_row(*row)
            console.print(grid)
            return
    for number, row in enumerate(cells):
        console.print(*[""] * bool(number), _record(heads, row), sep="\n")


def _range(console: Console, column: Sequence[Text]) -> Measurement:
    """From the longest word to the longest cell."""
    found = [Measurement.get(console, console.options.update(width=_WIDEST), cell) for cell in column]
    return Measurement(max(one.minimum for one in found), max(one.maximum for one in found))


def _widths(ranges: Sequence[Measurement], room: int) -> list[int] | None:
    """A width for each column, none below its minimum: the narrow ones whole, the wide ones share what is left."""
    spare = room - sum(one.minimum for one in ranges)
    if spare < 0:
        return None
    widths = [one.minimum for one in ranges]
    for done, index in enumerate(sorted(range(len(ranges)), key=lambda i: ranges[i].span)):
        more = min(ranges[index].span, spare // (len(ranges) - done))
        widths[index] += more
        spare -= more
    return widths


def _record(heads: Sequence[Text], cells: Sequence[Text]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=max(head.cell_len for head in heads))
    grid.add_column()
    for head, cell in zip(heads, cells, strict=True):
        if cell.plain:
            grid.add_row(head, cell)
    return grid


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
    def present(self) -> Mapping[str, int]: ...
    @property
    def frame_age_ms(self) -> float: ...
    @property
    def dropped_frames(self) -> int: ...


def status(state: RunState) -> str:
    """`61.2 fps  now 1 no_mask  so far 2 persons: 1 mask, 1 no_mask`, and of a live source its age and drops."""
    total = _count(state.persons, "person") + (f": {_seen(state.verdicts)}" if state.persons else "")
    words = [f"{state.fps:.1f} fps"] if state.fps else []
    words += [f"now {_seen(state.present) or 'nobody'}", f"so far {total}"]
    if state.total is None:
        words += [f"age {state.frame_age_ms:.0f} ms", f"{state.dropped_frames} dropped"]
    return "  ".join(words)


def _verdicts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts.get(label, 0)} {label}" for label in ("mask", "no_mask", "unsure"))


def _seen(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[label]} {label}" for label in ("mask", "no_mask", "unsure") if counts.get(label))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class ProgressView:
    """Shows a running pipeline: a bar or a live line on a terminal, else a line every few seconds."""

    def __init__(self, name: str, interval_s: float = 2.0) -> None:
        self._name, self._interval_s, self._next = printable(name), interval_s, 0.0
        self._bar: Progress | None = None
        self._lock = threading.Lock()
        self._last: RunState | None = None

    def __call__(self, state: RunState) -> None:
        """Show the state, if it is time for that; any thread may call it."""
        if time.monotonic() >= self._next and self._lock.acquire(blocking=False):
            try:
                self._last = state
                self._show(state)
            finally:
                self._lock.release()

    def _show(self, state: RunState) -> None:
        now = time.monotonic()
        if sys.stderr.isatty():
            self._next = now + 0.1
            self._show_bar(state)
        else:
            self._next = now + self._interval_s
            of = f"/{state.total}" if state.total else ""
            sys.stderr.write(f"{self._name}: frame {state.frames}{of}  {status(state)}\n")

    def _show_bar(self, state: RunState) -> None:
        """The name of the source has what the numbers leave; the bar is there where all of them have room beside it."""
        console = self._bar.console if self._bar else _console(stderr=True)
        text = f"frame {state.frames}{f'/{state.total}' if state.total else ''}  {status(state)}"
        room = console.width - cell_len(text) - 4  # with a spinner, and a space between all
        if self._bar is None:
            bar = (BarColumn(bar_width=24), TimeRemainingColumn(compact=True))
            columns = bar if state.total and room > cell_len(self._name) + _BAR else (SpinnerColumn("line"),)
            name, numbers = (TextColumn(f"{{task.fields[{field}]}}", markup=False) for field in ("source", "numbers"))
            self._bar = Progress(name, *columns, numbers, console=console)
            self._bar.add_task("", total=state.total, source="", numbers="")
        if len(self._bar.columns) == 4:
            room -= _BAR
        source = Text(self._name if room >= min(_NAME, cell_len(self._name)) else "")
        source.truncate(max(room, 0), overflow="ellipsis")
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=state.frames, total=state.total, source=source.plain, numbers=text)
        self._bar.start()

    def close(self) -> None:
        """Leave the last numbers on a terminal, above of what is printed next."""
        with self._lock:
            if self._bar is not None and self._last is not None:
                self._show_bar(self._last)
                self._bar.stop()
                self._bar = None
        settle_messages()


@contextmanager
def progress(name: str) -> Iterator[ProgressView]:
    view = ProgressView(name)
    try:
        yield view
    finally:
        view.close()


def summary(facts: Mapping[str, Any]) -> None:
    """The end of a run, from `Summary.to_dict()`.

    Raises:
        OutputClosed, SinkError: standard output does not take it.
    """
    rows = [
        ("source", facts["source"]),
        ("frames", f"{facts['frames']} in {facts['seconds']:.1f} s, {facts['fps']:.1f} fps"),
        ("persons", str(facts["persons"])),
        ("verdicts", _verdicts(facts["verdicts"])),
        ("events", str(facts["events"])),
    ]
    losses = {"dropped frames": "dropped_frames", "reconnects": "reconnects", "failed writes": "sink_errors"}
    rows += [(words, str(facts[key])) for words, key in losses.items() if facts[key]]
    cameras = facts["cameras"]
    for camera in cameras:
        counts = [_count(camera[f"{noun}s"], noun) for noun in ("frame", "person", "event")]
        counts.insert(1, f"{camera['fps']:.1f} fps")
        if len(cameras) + len(facts["failed"]) > 1:
            rows.append((camera["camera"], ", ".join(counts)))
        rows += [(f"{name} file", str(path)) for name, path in camera["outputs"].items() if path]
    rows += [(f"{name} file", str(path)) for name, path in facts["outputs"].items() if path]
    rows += [("failed", line) for line in facts["failed"]]
    end = "interrupted" if facts["interrupted"] else "done, but not all of it" if facts["failed"] else "done"
    wide = max(len(name) for name, _ in rows)
    for text in (end, *(f"  {name:<{wide}} {value}" for name, value in rows)):
        wait_for_room(_PATIENCE_S)
        line(text)

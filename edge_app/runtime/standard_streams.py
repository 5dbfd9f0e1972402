"""The standard streams of the process: whoever closed, filled or forgot one loses what he would have read, no more.

Results go to standard output and are an error where they cannot be written. Progress and messages go to standard
error, which never fails, and does not hold up a run either.
"""

import contextlib
import errno
import io
import os
import queue
import select
import sys
import threading
from collections.abc import Iterator
from typing import TextIO, cast

from edge_app.errors import SinkError

_WAITING = 1000  # messages that wait for a slow reader of standard error
_PATIENCE_S = 1.0  # for the last of them


class OutputClosed(Exception):
    """Whoever read our standard output has gone, as with `| head`; not an error."""


class OutputMissing(SinkError):
    """There was no standard output from the start (`>&-`): whoever asked for a result does not get one."""


def open_closed() -> None:
    """Have something open as 0, 1 and 2: a file opened next would get such a number, and what is printed with it.

    The first thing a program does. As standard output it is something for reading, and full, so that neither what is
    printed nor what goes to a file named /dev/stdout is lost without a word.
    """
    full = "/dev/full" if os.access("/dev/full", os.R_OK) else os.devnull
    for number, path, mode in ((0, os.devnull, os.O_RDONLY), (1, full, os.O_RDONLY), (2, os.devnull, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(path, mode)  # gets the lowest number that is free
    # Python has none where they were closed when it started, whatever the types say.
    if cast(TextIO | None, sys.stdout) is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if cast(TextIO | None, sys.stderr) is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Within, `sys.stdout` raises our own errors, and `sys.stderr` none."""
    before = sys.stdout, sys.stderr
    error = _Messages(before[1])
    sys.stdout, sys.stderr = cast(TextIO, _Results(before[0])), cast(TextIO, error)
    try:
        yield
    finally:
        error.finish()
        sys.stdout, sys.stderr = before


def never_wait() -> None:
    """From now on standard error drops what its reader does not take, instead of waiting for him."""
    if isinstance(sys.stderr, _Messages):
        sys.stderr.hurry()


def settle_messages() -> None:
    """Let what was written to standard error be there before what is written to standard output next."""
    if isinstance(sys.stderr, _Messages):
        sys.stderr.settle()


def silence_stdout() -> None:
    """Point standard output at nothing, so that the interpreter's last flush cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def wait_for_room(seconds: float) -> None:
    """Wait until a line fits into standard output; for ever where it is a terminal, which its user has halted.

    Raises:
        SinkError: a pipe that nobody reads.
    """
    with contextlib.suppress(OSError, ValueError):  # whatever cannot be asked is found out by writing
        if not sys.stdout.isatty() and not select.select([], [sys.stdout.fileno()], [], seconds)[1]:
            raise SinkError("standard output cannot be written (nobody reads it)")


class _Stream(io.TextIOBase):
    """A stand-in for one of Python's own streams."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()


class _Results(_Stream):
    """Standard output: raises `OutputClosed`, `OutputMissing` or `SinkError` in place of what the system says."""

    def write(self, text: str) -> int:
        with _explained():
            return self._stream.write(text)

    def flush(self) -> None:
        with _explained():
            self._stream.flush()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        kind = OutputMissing if error.errno == errno.EBADF else SinkError
        raise kind(f"standard output cannot be written ({error.strerror})") from None


class _Messages(_Stream):
    """Standard error: past Python's buffer, which would keep what could not be written and fail once more at the end.

    After `hurry` a thread of its own writes, and what does not fit into its queue is dropped.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._queue: queue.Queue[str | threading.Event | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._pump, name="stderr", daemon=True)
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, ValueError):  # a test's
            self._descriptor = None

    def write(self, text: str) -> int:
        if not self._thread.is_alive():
            self._pass_on(text)
        else:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: it has been written, or is on its way."""

    def hurry(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()

    def settle(self) -> None:
        if self._thread.is_alive():
            passed = threading.Event()
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(passed)
                passed.wait(_PATIENCE_S)

    def finish(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_PATIENCE_S)
            self._thread.join(_PATIENCE_S)

    def _pump(self) -> None:
        while (text := self._queue.get()) is not None:
            if isinstance(text, threading.Event):
                text.set()
            else:
                self._pass_on(text)

    def _pass_on(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._descriptor is None:
                self._stream.write(text)
                return
            data = text.encode(self.encoding, "backslashreplace")
            while data:
                data = data[os.write(self._descriptor, data) :]

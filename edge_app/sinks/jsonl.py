"""Events as JSON Lines: takes results, appends one whole line for each of their events."""

import os
import select
import stat
import threading
import time
from collections import deque
from pathlib import Path

from edge_app.errors import SinkError
from edge_app.events import Event
from edge_app.frames import FrameResult

_KEEP = 10_000  # events held back while the disk or a pipe is full; about 5 MB
_LAST_WAIT_S = 5.0  # how long closing waits for a reader that does not take anything
_PAUSE_S = 0.5  # after a part of a line was taken back, which whoever reads the file may have seen: not at every frame


class _NotTaken(SinkError):
    """The other end of a pipe has no room now."""


class JsonlSink:
    """Appends events to a file. A line is one system call, so a killed program leaves it whole or absent.

    Events that cannot be written are held and written later, in order; `lost` counts those given up. Into a pipe or a
    terminal nothing waits while frames come: a reader that stops must not stop the camera.

    Raises:
        SinkError: the file cannot be opened for appending.
    """

    name = "events"
    retry_s = 0.0  # a write that fails costs nothing, and the events must be taken in
    catches_up = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: deque[bytes] = deque()
        self.lost = 0
        self._again_at = 0.0
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise SinkError(f"{path}: events cannot be written here ({error.strerror})") from None
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        if not self._regular:
            os.set_blocking(self._file, False)
        self._torn = self._ends_torn()

    def write(self, result: FrameResult) -> None:
        """Append the result's events and those held back.

        Raises:
            SinkError: some are held back; the next call tries again.
        """
        self.append(result.events)

    def append(self, events: list[Event]) -> None:
        """As `write`, for events that belong to no frame, such as the last ones of a run."""
        self._pending.extend(event.to_json().encode() + b"\n" for event in events)
        while len(self._pending) > _KEEP:
            self._pending.popleft()
            self.lost += 1
        if self._pending and time.monotonic() < self._again_at:
            raise self._in_part()
        while self._pending:
            self._write_line(self._pending[0])
            self._pending.popleft()

    def close(self) -> None:
        if self._file < 0:
            return
        try:
            self._finish()
        except SinkError as error:
            self.lost += len(self._pending)
            raise SinkError(f"{error}; {self.lost} events are lost") from None
        finally:
            self._pending.clear()
            os.close(self._file)
            self._file = -1

    def _finish(self) -> None:
        """Write what is held, at the pace of whoever reads it, as long as anything is taken at all."""
        deadline = time.monotonic() + _LAST_WAIT_S
        self._again_at = 0.0
        while True:
            held = len(self._pending)
            try:
                self.append([])
                return
            except _NotTaken:
                now = time.monotonic()
                if len(self._pending) < held:
                    deadline = now + _LAST_WAIT_S
                if now >= deadline:
                    raise
                select.select([], [self._file], [], deadline - now)

    def _write_line(self, line: bytes) -> None:
        if self._file < 0:
            raise SinkError(f"{self._path}: the events file is closed")
        data = b"\n" + line if self._torn else line
        try:
            before = os.fstat(self._file).st_size
            written = os.write(self._file, data)
        except BlockingIOError:
            raise _NotTaken(f"{self._path}: events cannot be written (nobody reads them fast enough)") from None
        except OSError as error:
            raise SinkError(f"{self._path}: events cannot be written ({error.strerror})") from None
        if written == len(data):
            self._torn = False
            return
        # The disk became full within the line: take the part back, or else begin the next on a fresh line.
        try:
            if not self._regular:
                raise OSError
            os.ftruncate(self._file, before)
        except OSError:
            self._torn = True
        self._again_at = time.monotonic() + _PAUSE_S
        raise self._in_part()

    def _in_part(self) -> SinkError:
        return SinkError(f"{self._path}: events cannot be written (only part of a line fitted)")

    def _ends_torn(self) -> bool:
        """Whether the file's last line has no end, as another program or a lost disk may leave it."""
        if not self._regular:
            return False
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) == 0:
                    return False
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:  # may be written but not read
            return False


class SharedJsonlSink:
    """A `JsonlSink` that several runs write to, one at a time. Whoever opened it closes it, not the runs."""

    name = JsonlSink.name
    retry_s = JsonlSink.retry_s
    catches_up = JsonlSink.catches_up

    def __init__(self, sink: JsonlSink) -> None:
        self._sink, self._lock = sink, threading.Lock()

    def write(self, result: FrameResult) -> None:
        self.append(result.events)

    def append(self, events: list[Event]) -> None:
        with self._lock:
            self._sink.append(events)

    def close(self) -> None:
        """Nothing: other runs may still write."""

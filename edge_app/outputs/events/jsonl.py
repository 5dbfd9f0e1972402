"""Events as JSON Lines: takes events, appends one whole line for each."""

import errno
import os
import select
import stat
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from edge_app.config.settings import Settings
from edge_app.errors import SinkError
from edge_app.outputs import files
from edge_app.outputs.output import EventOutput
from edge_app.records import Event

KEEP = 10_000  # events held back while the disk or a pipe is full; about 5 MB
LAST_WAIT_S = 5.0  # how long closing waits for a reader that does not take anything
_LOOK_S = 0.05  # how often closing looks whether a pipe has a reader at last
_PAUSE_S = 0.5  # after a part of a line was taken back, which whoever reads the file may have seen: not at every frame


class _NotTaken(SinkError):
    """The other end of a pipe has no room now."""


def open_jsonl(settings: Settings) -> EventOutput:
    assert settings.output.events is not None
    return JsonlOutput(settings.output.events, settings.output.permissions)


class JsonlOutput(EventOutput):
    """Appends events to a file. A line is one system call, so a killed program leaves it whole or absent.

    Events that cannot be written are held and written later, in order; `lost` counts those given up. Into a pipe or a
    terminal nothing waits while frames come: a reader that stops, or is not there yet, must not stop the camera.
    A file that is moved or removed, as log rotation does, is made again for the next event.

    Args:
        path: the file, pipe or device; made where it is missing.
        mode: permissions of a new file.
        keep: events held back at most.
        last_wait_s: how long `close` waits for a reader that does not take anything.
        clock: seconds.

    Raises:
        SinkError: the file cannot be opened for appending.
    """

    name = "events"
    from_log = False

    def __init__(
        self,
        path: Path,
        mode: int = files.PRIVATE,
        keep: int = KEEP,
        last_wait_s: float = LAST_WAIT_S,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        self._path, self._mode = path, mode
        self._keep, self._last_wait_s, self._clock = keep, last_wait_s, clock
        self._pending: deque[bytes] = deque()
        self.lost = 0
        self._again_at = 0.0
        self._file = -1
        self._closed = False
        try:
            self._open()
        except _NotTaken:
            pass  # a pipe: its reader may come later

    def write(self, event: Event) -> None:
        """Append the event and those held back.

        Raises:
            SinkError: some are held back; the next call tries again.
        """
        self._pending.append(event.to_json().encode() + b"\n")
        if len(self._pending) > self._keep:
            self._pending.popleft()
            self.lost += 1
        self.flush()

    def flush(self) -> None:
        if self._pending and self._clock() < self._again_at:
            raise self._in_part()
        if self._pending and not self._closed:
            self._follow()
        while self._pending:
            self._write_line(self._pending[0])
            self._pending.popleft()

    def close(self) -> None:
        if self._closed:
            return
        try:
            self._finish()
        except SinkError as error:
            self.lost += len(self._pending)
            raise SinkError(f"{error}; {self.lost} events are lost") from None
        finally:
            self._pending.clear()
            self._closed = True
            self._shut()
        if self.lost:
            raise SinkError(f"{self._path}: {self.lost} events are lost, for which there was no room")

    def _follow(self) -> None:
        """Be at the file that has the path now."""
        if not self._in_place():
            self._shut()
        if self._file < 0:
            self._open()

    def _in_place(self) -> bool:
        try:
            return self._file < 0 or os.path.samestat(self._path.stat(), os.fstat(self._file))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:  # nobody knows: stay
            return True

    def _open(self) -> None:
        try:
            self._file = files.open_to_append(self._path, self._mode)
        except OSError as error:
            if error.errno == errno.ENXIO and self._path.is_fifo():
                raise _NotTaken(f"{self._path}: events cannot be written (nobody reads this pipe)") from None
            raise SinkError(f"{self._path}: events cannot be written here ({error.strerror})") from None
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode) and files.own_stream(self._path) is None
        self._torn = self._ends_torn()

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _finish(self) -> None:
        """Write what is held, at the pace of whoever reads it, as long as anything is taken at all."""
        deadline = self._clock() + self._last_wait_s
        self._again_at = 0.0
        while True:
            held = len(self._pending)
            try:
                self.flush()
                return
            except _NotTaken:
                now = self._clock()
                if len(self._pending) < held:
                    deadline = now + self._last_wait_s
                if now >= deadline:
                    raise
                if self._file < 0:
                    time.sleep(_LOOK_S)
                else:
                    select.select([], [self._file], [], deadline - now)

    def _write_line(self, line: bytes) -> None:
        if self._closed:
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
        self._again_at = self._clock() + _PAUSE_S
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

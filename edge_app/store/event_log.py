"""The log of events in SQLite: each event under a rising number, and a cursor for each output that reads it.

The log is in WAL mode: an appended event survives a kill of the program, one writer never waits for readers, and any
program may read along. Tables and columns are described in docs/outputs.md.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

from edge_app.errors import SinkError, first_line
from edge_app.records import Event

log = logging.getLogger(__name__)

_HEADER = b"SQLite format 3\0"
_APPLICATION = 0x45444745  # marks the file as ours
_VERSION = 1
_SCHEMA = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- rises, and is never used again
    time TEXT NOT NULL,                     -- RFC 3339, UTC
    camera TEXT NOT NULL,
    type TEXT NOT NULL,
    label TEXT NOT NULL,
    id TEXT NOT NULL,                       -- of the person, the same in all of their events
    event TEXT NOT NULL                     -- the whole event, as JSON
);
CREATE TABLE cursors (output TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""
_BUSY_S = 5.0  # for another program that holds the file, such as a backup
_ABSENT_EVENTS = 1_000_000  # kept for an output that this run does not have
_POLL_S = 0.5
_PRUNE_EVERY = 500  # deliveries
_READER_PAGES, _WRITER_PAGES = 1000, 2000  # of 4 KB: how far the WAL grows before a connection empties it


class EventLog:
    """A context manager; any thread may call it. One process at a time has a log open for writing.

    newest: number of the last event, 0 where there was none. generation: rises where numbers begin anew, because the
    file was moved, removed or replaced.

    Args:
        path: the database; made, with its folders, where it is missing.
        mode: permissions of a new file.
        keep: False removes events once every output has them.

    Raises (on construction):
        SinkError: another file, another run that uses it, a newer version, or a disk that does not take it.
    """

    def __init__(self, path: Path, mode: int = 0o600, keep: bool = True) -> None:
        self.path, self._mode, self._keep = path, mode, keep
        self.generation = self.newest = 0
        self._changed = threading.Condition()
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._cursors: dict[str, int] = {}
        self._open_at_path()

    def append(self, events: Sequence[Event], busy_s: float = _BUSY_S) -> None:
        """Write the events, all or none.

        busy_s: how long another program that has locked the file is waited for.

        Raises:
            SinkError: they are not written.
        """
        rows = [(e.time, e.camera, e.type, e.label, e.id, e.to_json()) for e in events]
        insert = "INSERT INTO events (time, camera, type, label, id, event) VALUES (?, ?, ?, ?, ?, ?)"
        newest: int | None = None
        with self._writing, self._as_sink_error():
            self._follow(busy_s)
            self._writer.execute(f"PRAGMA busy_timeout = {round(busy_s * 1000)}")
            with _transaction(self._writer):
                for row in rows:
                    newest = self._writer.execute(insert, row).lastrowid
            with self._changed:
                self.newest = newest or self.newest
                self._changed.notify_all()

    def after(self, number: int, most: int) -> list[tuple[int, Event | None]]:
        """The next events after that number, each with its own; None for one that cannot be read: it is damaged, or of
        another version."""
        with self._reading, self._as_sink_error():
            rows = self._reader.execute(
                "SELECT seq, event FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (number, most)
            ).fetchall()
        return [(int(seq), _read(text)) for seq, text in rows]

    def cursor(self, output: str) -> int:
        """Keep a cursor for this output from now on. Gives its `delivered`; one that is new begins at the end."""
        with self._reading, self._as_sink_error():
            self._enter(output)
        return self._cursors[output]

    def delivered(self, output: str) -> int:
        """The number of the last event that this output has."""
        return self._cursors[output]

    def advance(self, output: str, number: int, generation: int | None = None) -> None:
        """This output has the event of that number and all before it.

        generation: when `after` gave it; None: now.
        """
        with self._reading, self._as_sink_error():
            if generation not in (None, self.generation):
                return  # numbers of a file that has gone
            self._reader.execute("UPDATE cursors SET seq = ? WHERE output = ?", (number, output))
            self._cursors[output] = number
            if not self._keep and number % _PRUNE_EVERY == 0:
                self._prune()

    def wait_for_more(self, number: int, or_when: Callable[[], bool]) -> None:
        """Return once there are events after that number, or this turns true, or after a short while."""
        with self._changed:
            self._changed.wait_for(lambda: self.newest > number or or_when(), _POLL_S)

    def wake(self) -> None:
        """Let those look again who wait."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        with self._writing, self._reading, contextlib.suppress(SinkError), self._as_sink_error():
            if not self._keep and self._cursors:
                self._prune()
        with self._writing, self._reading:
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open_at_path(self, busy_s: float = _BUSY_S) -> None:
        self._real = Path(os.path.realpath(self.path))  # a link may lead to a file that is not there yet
        with contextlib.ExitStack() as opened, self._as_sink_error():
            self._create()
            opened.callback(os.close, self._lock_out_others())
            self._check_header()
            # Two connections: to copy the WAL into the file takes a while, so the one that cameras wait for does it
            # only where the other, which marks deliveries, has not done it for long, or has none to mark.
            self._writer = opened.enter_context(contextlib.closing(self._connect(_WRITER_PAGES, busy_s)))
            self._migrate()
            self._writer.execute("PRAGMA journal_mode = WAL")  # not before: it would change a file of somebody else
            self._reader = opened.enter_context(contextlib.closing(self._connect(_READER_PAGES, busy_s)))
            row = self._reader.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            self.newest = int(row[0]) if row else 0
            for output in [*self._cursors]:
                self._enter(output)
            self._reader.execute(f"PRAGMA busy_timeout = {round(_BUSY_S * 1000)}")
            self._info = self._real.stat()
            self._open = opened.pop_all()

    def _follow(self, busy_s: float) -> None:
        """Be at the file that has the path now. One that was moved or replaced is left whole."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), self._info):
                return
        if not self._reading.acquire(timeout=busy_s):
            raise SinkError(f"{self.path}: the store was moved, removed or replaced, and is still in use")
        try:
            with contextlib.suppress(sqlite3.Error):  # into the old file what lies beside it
                self._reader.execute(f"PRAGMA busy_timeout = {round(busy_s * 1000)}")
                self._reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._open.close()
            self.generation += 1
            self._open_at_path(busy_s)
        finally:
            self._reading.release()
        log.warning("%s: the store was moved, removed or replaced; events go into what has this name now", self.path)

    def _enter(self, output: str) -> None:
        self._reader.execute("INSERT OR IGNORE INTO cursors VALUES (?, ?)", (output, self.newest))
        (seq,) = self._reader.execute("SELECT seq FROM cursors WHERE output = ?", (output,)).fetchone()
        self._cursors[output] = int(seq)

    def _prune(self) -> None:
        """Remove what every output has. One that this run does not have may come back, and finds its latest events."""
        used = min(self._cursors.values())
        (ever,) = self._reader.execute("SELECT min(seq) FROM cursors").fetchone()
        last = min(used, max(ever, self.newest - _ABSENT_EVENTS))
        # A part at a time: cameras write meanwhile.
        some = "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ? LIMIT ?)"
        self._reader.execute(some, (last, 2 * _PRUNE_EVERY))

    def _create(self) -> None:
        """Make the file with its permissions, which SQLite gives to those that it puts beside it."""
        self._real.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            file = os.open(self._real, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            with contextlib.suppress(OSError):  # a FAT or network disk may know no modes
                os.fchmod(file, self._mode)  # whatever the umask
            os.close(file)
        if not stat.S_ISREG(self._real.stat().st_mode):
            raise SinkError(f"{self.path}: the store cannot be here (expected a file)")

    def _lock_out_others(self) -> int:
        """Two runs would deliver each event twice.

        A file of its own: to close the database itself would let go of SQLite's locks on it.
        """
        name = self._real.with_name(f"{self._real.name}.lock")
        file = os.open(name, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            os.fchmod(file, self._mode)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise SinkError(f"{self.path}: another run uses this store", "give each run its own store.path") from None
        except OSError:  # a disk that knows no locks holds nobody up
            pass
        return file

    def _check_header(self) -> None:
        """SQLite takes a short file, whatever it holds, for an empty database, and writes over it.

        Only once others are locked out, for to close the file lets go of their locks, see there.
        """
        with self._real.open("rb") as file:
            if file.read(len(_HEADER)) not in (b"", _HEADER):
                raise SinkError(f"{self.path}: this file is not a database", "choose another store.path")

    def _connect(self, pages: int, busy_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(self._real, timeout=busy_s, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")  # a power failure may take the last seconds, a kill nothing
        connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        return connection

    def _migrate(self) -> None:
        with _transaction(self._writer):  # which fails where the file cannot be written
            (tables,) = self._writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
            (application,) = self._writer.execute("PRAGMA application_id").fetchone()
            (version,) = self._writer.execute("PRAGMA user_version").fetchone()
            if tables == 0:
                for statement in _SCHEMA.split(";"):
                    self._writer.execute(statement)
                self._writer.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._writer.execute(f"PRAGMA user_version = {_VERSION}")
            elif application != _APPLICATION:
                raise SinkError(f"{self.path}: this database is not a store of edge_app", "choose another store.path")
            elif version > _VERSION:
                found = f"this store has version {version}, and this edge_app knows {_VERSION}"
                raise SinkError(f"{self.path}: {found}", "use the newer edge_app, or another store.path")

    @contextlib.contextmanager
    def _as_sink_error(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise SinkError(f"{self.path}: the store cannot be used ({reason})", "see store.path") from None


def _read(text: str) -> Event | None:
    try:
        return Event.from_json(text)
    except (ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself
            connection.execute("ROLLBACK")
        raise

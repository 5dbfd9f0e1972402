"""The log of events on a real SQLite file: what it keeps, for whom, and which files it leaves alone."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.errors import SinkError
from edge_app.outputs.events.stored import StoredEvents
from edge_app.outputs.output import Isolation
from edge_app.store.event_log import EventLog
from tests.clock import Clock
from tests.disk import disk_of, mode
from tests.media import event

ROOT = Path(__file__).parents[2]


def numbers(log: EventLog) -> list[int]:
    return [number for number, _ in log.after(0, 100_000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with EventLog(path) as opened:
        yield opened


class TestKeeping:
    def test_numbers_rise_and_events_come_back_as_they_were(self, log: EventLog) -> None:
        events = [event(index) for index in range(5)]
        log.append(events[:2])
        log.append([])
        log.append(events[2:])
        assert log.newest == 5
        assert log.after(0, 100) == list(enumerate(events, start=1))
        assert log.after(1, 2) == [(2, events[1]), (3, events[2])]
        assert log.after(5, 100) == []

    def test_they_survive_reopening_and_no_number_is_used_again(self, path: Path) -> None:
        with EventLog(path) as log:
            log.append([event(0), event(1)])
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("DELETE FROM events WHERE seq = 2")
            other.commit()
        with EventLog(path) as log:
            assert (log.newest, numbers(log)) == (2, [1])
            log.append([event(2)])
            assert (log.newest, numbers(log)) == (3, [1, 3])

    def test_several_are_written_all_or_none(self, path: Path, log: EventLog) -> None:
        log.append([event(0)])
        many = [event(index) for index in range(1, 500)]
        with disk_of(path.with_name("events.db-wal").stat().st_size + 50_000):
            with pytest.raises(SinkError, match=r"events\.db: the store cannot be used \(disk I/O error\)"):
                log.append(many)
            assert (log.newest, numbers(log)) == (1, [1])
        log.append(many)
        assert (log.newest, numbers(log)) == (500, list(range(1, 501)))

    def test_a_name_is_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in (":memory:", "file:x?mode=ro", "caf\udce9.db", "made/here/e.db"):
            with EventLog(Path(name)) as log:
                log.append([event()])
            with EventLog(Path(name)) as log:
                assert log.newest == 1

    def test_the_wal_does_not_grow_for_ever_though_nothing_is_delivered(self, path: Path, log: EventLog) -> None:
        events = [event(index) for index in range(20)]
        for _ in range(800):
            log.append(events)
        assert path.stat().st_size > 4_000_000
        assert path.with_name("events.db-wal").stat().st_size < 9_000_000

    @pytest.mark.parametrize("wanted", [0o600, 0o640])
    @pytest.mark.parametrize("umask", [0o022, 0o077])
    def test_permissions(self, path: Path, wanted: int, umask: int) -> None:
        before = os.umask(umask)
        try:
            with EventLog(path, wanted) as log:
                log.append([event()])
                modes = {file.name: mode(file) for file in path.parent.iterdir() if not file.name.endswith(".lock")}
        finally:
            os.umask(before)
        assert modes == dict.fromkeys(["events.db", "events.db-wal", "events.db-shm"], wanted)

    def test_any_program_may_read_along(self, path: Path, log: EventLog) -> None:
        log.append([event(0)])
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            reader.execute("BEGIN")
            row = "SELECT count(*), max(seq), min(camera), min(type), min(label) FROM events"
            assert reader.execute(row).fetchone() == (1, 1, "door", "new", "mask")
            log.append([event(1)])  # which does not wait for the reader
            assert reader.execute(row).fetchone()[:2] == (1, 1)
            reader.execute("COMMIT")
            assert reader.execute(row).fetchone()[:2] == (2, 2)

    def test_a_kill_at_any_moment_leaves_every_event_that_was_written(self, path: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from edge_app.store.event_log import EventLog;"
            "from tests.media import event; log = EventLog(Path(sys.argv[1])); new = event(); log.cursor('remote')\n"
            "while True: log.append([new, new]); print(log.newest, flush=True); log.advance('remote', log.newest)"
        )
        written = 0
        for _ in range(2):
            with subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, cwd=ROOT) as other:
                assert other.stdout is not None
                for _ in range(100):
                    written = int(other.stdout.readline())
                other.send_signal(signal.SIGKILL)
                written = int((other.stdout.read().split() or [written])[-1])
            with contextlib.closing(sqlite3.connect(path)) as found:
                assert found.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            with EventLog(path) as log:
                assert log.newest >= written
                assert numbers(log) == list(range(1, log.newest + 1))
                assert log.newest % 2 == 0  # each pair whole
                assert log.newest - log.cursor("remote") <= 4


class TestCursors:
    def test_an_output_that_was_never_here_begins_at_the_end(self, path: Path) -> None:
        with EventLog(path) as log:
            assert log.cursor("early") == 0
            log.append([event(0), event(1)])
            assert (log.cursor("early"), log.cursor("late")) == (0, 2)
        with EventLog(path) as log:
            assert (log.cursor("early"), log.cursor("late")) == (0, 2)

    def test_each_output_has_its_own(self, path: Path) -> None:
        with EventLog(path) as log:
            for output in ("a", "b"):
                log.cursor(output)
            log.append([event(index) for index in range(9)])
            log.advance("a", 7)
            log.advance("b", 3)
        with EventLog(path) as log:
            assert (log.cursor("a"), log.cursor("b")) == (7, 3)

    def test_events_go_when_every_output_of_the_run_has_them(self, path: Path) -> None:
        with EventLog(path, keep=False) as log:
            for output in ("a", "b"):
                log.cursor(output)
            log.append([event(index) for index in range(600)])
            log.advance("b", 200)
            log.advance("a", 500)
            assert numbers(log) == list(range(201, 601))
            log.advance("b", 550)
        with EventLog(path, keep=False) as log:
            assert numbers(log) == list(range(501, 601))
            assert log.newest == 600

    def test_an_output_that_a_run_does_not_have_finds_its_events_when_it_comes_back(self, path: Path) -> None:
        with EventLog(path, keep=False) as log:
            for output in ("a", "b"):
                log.cursor(output)
            log.append([event(index) for index in range(600)])
            log.advance("b", 200)
        with EventLog(path, keep=False) as log:
            log.cursor("a")
            log.advance("a", 500)
            log.advance("a", 600)
        with EventLog(path, keep=False) as log:
            assert log.cursor("b") == 200
            assert numbers(log) == list(range(201, 601))

    def test_or_never(self, path: Path) -> None:
        with EventLog(path) as log:
            log.cursor("a")
            log.append([event()] * 1000)
            log.advance("a", 500)
            log.advance("a", 1000)
        with EventLog(path, keep=False) as log:  # without an output, nobody has taken them
            assert len(numbers(log)) == 1000
        with EventLog(path) as log:
            assert len(numbers(log)) == 1000


def refused(path: Path) -> str:
    """What is said of a file, which stays as it was."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SinkError) as caught:
        EventLog(path)
    assert (path.read_bytes() if path.is_file() else None) == before
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


class TestRefusing:
    def test_one_that_another_run_uses(self, path: Path, log: EventLog) -> None:
        log.append([event()])
        assert refused(path) == f"{path}: another run uses this store: give each run its own store.path"
        script = (
            "import sys; from pathlib import Path; from edge_app.store.event_log import EventLog;"
            "EventLog(Path(sys.argv[1]))"
        )
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].endswith("another run uses this store: give each run its own store.path")
        log.append([event()])
        assert numbers(log) == [1, 2]

    def test_one_that_was_closed_is_free_again(self, path: Path) -> None:
        for _ in range(3):
            log = EventLog(path)
            log.close()
            log.close()  # a second time does nothing
            with pytest.raises(SinkError, match="cannot be used"):
                log.append([event()])

    @pytest.mark.parametrize("wal", [False, True])
    def test_the_database_of_another_program(self, path: Path, wal: bool) -> None:
        with contextlib.closing(sqlite3.connect(path)) as other:
            if wal:
                other.execute("PRAGMA journal_mode = WAL")
            other.execute("CREATE TABLE events (seq INTEGER)")
            other.commit()
        assert refused(path).endswith("this database is not a store of edge_app: choose another store.path")

    @pytest.mark.parametrize("text", ["x", "a: short note\n", "notes\n" * 1000])
    def test_a_text(self, path: Path, text: str) -> None:
        path.write_text(text)
        assert refused(path).endswith("this file is not a database: choose another store.path")

    def test_a_folder_and_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path, tmp_path / "pipe"):
            assert refused(path).endswith("the store cannot be here (expected a file)")

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert refused(tmp_path / "file" / "e.db").endswith("the store cannot be used (File exists): see store.path")
        assert "cannot be used (" in refused(Path("/proc/edge_app/e.db"))  # not even root may

    def test_a_store_of_a_newer_version(self, path: Path) -> None:
        EventLog(path).close()
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA user_version = 99")
        assert "this store has version 99, and this edge_app knows 1: use the newer edge_app" in refused(path)

    def test_an_empty_file_is_as_good_as_none(self, path: Path) -> None:
        path.touch(0o604)
        with EventLog(path) as log:
            log.append([event()])
        assert mode(path) == 0o604


def rows(path: Path) -> list[str]:
    """The ids of all events in a file."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        return [identity for (identity,) in other.execute("SELECT id FROM events ORDER BY seq")]


class TestMoved:
    """As log rotation, a backup or a stick that is pulled does, while a run writes."""

    @pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
    def test_events_go_on_in_what_has_the_name_now(
        self, path: Path, log: EventLog, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        backup, old = path.with_name("backup.db"), path.with_name("old.db")
        with EventLog(backup) as other:
            other.append([event(100)])
        log.cursor("remote")
        log.append([event(0), event(1)])
        before = rows(path)
        log.advance("remote", 1)
        path.unlink() if how == "removed" else path.rename(old)
        if how == "replaced":
            backup.rename(path)
        new = event(2)
        log.append([new])
        kept = [event(100).id] if how == "replaced" else []
        assert len(rows(path)) == len(kept) + 1
        assert rows(path)[-1] == new.id
        if how != "removed":
            assert rows(old) == before
        assert "was moved, removed or replaced" in caplog.text
        (pending,) = log.after(log.delivered("remote"), 9)
        assert pending[1] == new
        log.append([event(3)])
        assert len(caplog.records) == 1

    def test_one_that_was_replaced_by_something_else_holds_the_events(self, path: Path, log: EventLog) -> None:
        stored = StoredEvents(log)
        stored.write(event(0))
        path.unlink()
        path.write_text("a text")
        with pytest.raises(SinkError, match="not a database"):
            stored.write(event(1))
        path.unlink()
        stored.close()
        assert len(rows(path)) == 1

    def test_through_a_link_it_is_the_same_store(self, path: Path, log: EventLog) -> None:
        link = path.with_name("link.db")
        link.symlink_to(path)
        assert "another run uses this store" in refused(link)

    def test_a_link_to_a_file_that_is_not_there_yet(self, tmp_path: Path) -> None:
        link = tmp_path / "link.db"
        link.symlink_to(tmp_path / "there" / "e.db")
        EventLog(link).close()
        assert (tmp_path / "there" / "e.db").is_file()


class TestLocked:
    def test_a_camera_does_not_wait_for_another_program(self, path: Path, log: EventLog) -> None:
        clock = Clock()
        stored = StoredEvents(log, clock=clock)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            start = time.monotonic()
            with pytest.raises(SinkError, match="locked"):
                stored.write(event(0))
            isolation = Isolation("store")
            for _ in range(50):  # frames that bring nothing
                isolation.attempt(stored.flush)
            assert (isolation.errors, isolation.last_error is None) == (0, False)
            assert time.monotonic() - start < 1  # SQLite alone would have waited for 5 s
            other.execute("ROLLBACK")
        clock.now += 2
        stored.flush()
        assert len(numbers(log)) == 1


class TestFullDisk:
    def test_nothing_is_lost_and_the_order_is_kept(self, path: Path, log: EventLog) -> None:
        clock = Clock()
        stored, events = StoredEvents(log, clock=clock), [event(index) for index in range(9)]
        stored.write(events[0])
        with disk_of(path.with_name("events.db-wal").stat().st_size):
            for index in (1, 2):
                with pytest.raises(SinkError, match=r"events\.db: the store cannot be used"):
                    stored.write(events[index])
                clock.now += 2
            clock.now -= 1.5
            with pytest.raises(SinkError, match="3 events wait to be stored"):
                stored.write(events[3])  # not tried yet
        with pytest.raises(SinkError, match="3 events wait"):
            stored.flush()
        clock.now += 1
        for new in events[4:7]:
            stored.write(new)
        stored.flush()
        stored.close()
        assert log.after(0, 100) == list(enumerate(events[:7], start=1))

    def test_closing_tries_once_more_and_tells_what_is_lost(self, path: Path, log: EventLog) -> None:
        stored = StoredEvents(log, keep=2, clock=Clock())
        stored.write(event(0))
        with disk_of(path.with_name("events.db-wal").stat().st_size):
            for index in range(1, 5):
                with pytest.raises(SinkError):
                    stored.write(event(index))
            with pytest.raises(SinkError, match="4 events are lost"):
                stored.close()
        with pytest.raises(SinkError, match="2 events are lost"):
            stored.close()
        assert [kept.time for _, kept in log.after(0, 100)] == [event(index).time for index in (0, 3, 4)]

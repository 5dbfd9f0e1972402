"""The event outputs of a process together: which are opened, what a failing one does to others, how they end."""

import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.config.settings import OutputSettings, Settings, StoreSettings
from edge_app.errors import SinkError
from edge_app.outputs import registry
from edge_app.outputs.event_outputs import EventOutputs
from edge_app.outputs.output import EventOutput
from edge_app.records import Event
from edge_app.store.event_log import EventLog
from tests.disk import count_lines
from tests.media import event


class Fake(EventOutput):
    """Keeps what it is given; broken: fails. All that were opened in a test are in `opened`."""

    opened: list["Fake"] = []  # noqa: RUF012  of the whole test

    def __init__(self, name: str, from_log: bool) -> None:
        self.name, self.from_log = name, from_log
        self.broken, self.written, self.closed = False, list[Event](), 0
        self.opened.append(self)

    def write(self, event: Event) -> None:
        if self.broken:
            raise RuntimeError("no route")
        self.written.append(event)

    def close(self) -> None:
        self.closed += 1


def open_remote(_: Settings) -> EventOutput:
    return Fake("remote", from_log=True)


def open_direct(_: Settings) -> EventOutput:
    return Fake("direct", from_log=False)


def open_nothing(_: Settings) -> EventOutput:
    raise SinkError("nowhere: cannot be opened")


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[Fake]]:
    """The state directory is in tmp_path."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield Fake.opened
    Fake.opened.clear()


def register(monkeypatch: pytest.MonkeyPatch, *factories: str) -> None:
    """In place of settings of their own, these have those that every run has."""
    for key, factory in zip(("source.uri", "source.camera", "output.mode"), factories, strict=False):
        monkeypatch.setitem(registry.EVENT_OUTPUTS, key, f"{__name__}:{factory}")


def settings(events: Path | None = None, store: Path | None = None) -> Settings:
    return Settings(output=OutputSettings(events=events), store=StoreSettings(path=store))


def open_files() -> set[str]:
    return {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}


class TestOpening:
    def test_only_those_of_the_settings(self, tmp_path: Path) -> None:
        jsonl, store = tmp_path / "e.jsonl", tmp_path / "e.db"
        with EventOutputs(settings()) as outputs:
            outputs.write([event()])
            assert outputs.errors_by_output == {}
        assert list(tmp_path.iterdir()) == []
        for given, names in (
            (settings(events=jsonl), {"events": 0}),
            (settings(store=store), {"store": 0}),
            (settings(jsonl, store), {"events": 0, "store": 0}),
        ):
            with EventOutputs(given) as outputs:
                outputs.write([event()])
                assert outputs.errors_by_output == names
            assert (outputs.errors, outputs.failed) == (0, [])
        assert count_lines(jsonl) == 2
        with EventLog(store) as log:
            assert log.newest == 2

    def test_what_waits_for_its_delivery_alone_lies_in_the_state_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Fake]
    ) -> None:
        register(monkeypatch, "open_remote")
        with EventOutputs(settings()) as outputs:
            assert list(outputs.errors_by_output) == ["store", "remote"]
            outputs.write(new := [event(0), event(1)])
        (remote,) = opened
        assert (remote.written, remote.closed) == (new, 1)
        with EventLog(tmp_path / "state" / "edge_app" / "events.db") as log:
            assert (log.newest, log.after(0, 10)) == (2, [])  # delivered, so nobody needs them any more

    def test_a_store_keeps_what_was_delivered(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Fake]
    ) -> None:
        register(monkeypatch, "open_remote")
        new = [event(0), event(1)]
        with EventOutputs(settings(store=tmp_path / "e.db")) as outputs:
            outputs.write(new)
        assert opened[0].written == new
        with EventLog(tmp_path / "e.db") as log:
            assert [kept for _, kept in log.after(0, 10)] == new

    def test_nothing_is_left_open_where_a_later_one_cannot_be_opened(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Fake]
    ) -> None:
        register(monkeypatch, "open_remote", "open_direct", "open_nothing")
        with pytest.raises(SinkError, match="nowhere: cannot be opened"):
            EventOutputs(settings(tmp_path / "e.jsonl"))
        assert [output.closed for output in opened] == [1, 1]
        assert str(tmp_path / "e.jsonl") not in open_files()

    def test_nor_where_there_can_be_no_log(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Fake]
    ) -> None:
        register(monkeypatch, "open_remote", "open_direct")
        threads = threading.active_count()
        with EventLog(tmp_path / "e.db"):
            with pytest.raises(SinkError, match="another run uses this store"):
                EventOutputs(settings(tmp_path / "e.jsonl", tmp_path / "e.db"))
            assert [output.closed for output in opened] == [1, 1]
            assert str(tmp_path / "e.jsonl") not in open_files()
        assert threading.active_count() == threads
        with (tmp_path / "e.db.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it


class TestFailing:
    def test_a_direct_output_that_fails_does_not_disturb_another(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[Fake]
    ) -> None:
        failing_first = {"source.uri": f"{__name__}:open_direct", **registry.EVENT_OUTPUTS}
        monkeypatch.setattr(registry, "EVENT_OUTPUTS", failing_first)
        with EventOutputs(settings(tmp_path / "e.jsonl")) as outputs:
            assert list(outputs.errors_by_output) == ["direct", "events"]
            opened[0].broken = True
            outputs.write([event(0), event(1)])
            assert outputs.errors_by_output == {"direct": 2, "events": 0}
            assert outputs.failed == ["RuntimeError: no route"]
            opened[0].broken = False
            outputs.write([event(2)])
            assert outputs.failed == []
        assert outputs.errors == 2
        assert count_lines(tmp_path / "e.jsonl") == 3

    def test_what_is_held_is_tried_again_without_an_event(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        with EventOutputs(settings(path)) as outputs:
            path.unlink()
            path.mkdir()
            outputs.write([event()])
            assert outputs.errors == 1
            path.rmdir()
            outputs.write([])
            assert (outputs.failed, count_lines(path)) == ([], 1)

    def test_closing_that_makes_up_for_all_leaves_nothing_failed(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        with EventOutputs(settings(path)) as outputs:
            path.unlink()
            path.mkdir()
            outputs.write([event()])
            path.rmdir()
        assert (outputs.errors, outputs.failed, count_lines(path)) == (1, [], 1)

    def test_and_one_that_cannot_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        with EventOutputs(settings(path)) as outputs:
            path.unlink()
            path.mkdir()
            outputs.write([event()])
        (reason,) = outputs.failed
        assert reason.endswith("1 events are lost")

    def test_what_a_remote_output_does_not_take_waits_for_the_next_start(
        self, monkeypatch: pytest.MonkeyPatch, opened: list[Fake], caplog: pytest.LogCaptureFixture
    ) -> None:
        register(monkeypatch, "open_remote")
        new = [event(index) for index in range(3)]
        with EventOutputs(settings()) as outputs:
            opened[0].broken = True
            outputs.write(new[:2])
        assert outputs.errors_by_output["store"] == 0
        assert 1 <= outputs.errors_by_output["remote"] <= 2  # once more at the end, where the first came before it
        assert outputs.failed == []  # nothing is lost
        assert "remote: 2 events are not delivered yet; they wait in " in caplog.text
        with EventOutputs(settings()) as outputs:
            outputs.write(new[2:])
        assert opened[1].written == new


def test_from_several_threads_no_event_is_torn_or_lost(tmp_path: Path) -> None:
    jsonl, store, threads, rounds = tmp_path / "e.jsonl", tmp_path / "e.db", 6, 50
    cameras = [f"camera{number}" for number in range(threads)]
    stories = {camera: [event(index, camera) for index in range(2 * rounds)] for camera in cameras}

    def watch(camera: str) -> None:
        for index in range(0, 2 * rounds, 2):
            outputs.write(stories[camera][index : index + 2])
            outputs.write([])

    with EventOutputs(settings(jsonl, store)) as outputs:
        watching = [threading.Thread(target=watch, args=(camera,)) for camera in cameras]
        for thread in watching:
            thread.start()
        for thread in watching:
            thread.join()
    assert (outputs.errors, outputs.failed) == (0, [])
    written = [Event.from_json(line) for line in jsonl.read_text(encoding="utf-8").splitlines()]
    with EventLog(store) as log:
        stored = [kept for _, kept in log.after(0, 10_000)]
    for found in (written, stored):
        assert len(found) == threads * rounds * 2
        for camera in cameras:
            assert [one for one in found if one.camera == camera] == stories[camera]
        assert [one.camera for one in found[::2]] == [
            one.camera for one in found[1::2]
        ]  # what a frame brings, together

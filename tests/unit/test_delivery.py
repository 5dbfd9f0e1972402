"""Deliveries from the log of events: order, failures, restarts and ends. Real threads and a real log."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_app.clock import Backoff
from edge_app.errors import SinkError
from edge_app.outputs.events.delivery import BATCH, Delivery
from edge_app.outputs.output import EventOutput
from edge_app.records import Event
from edge_app.store.event_log import EventLog
from tests.clock import Clock
from tests.media import event


class Remote(EventOutput):
    """An output far away, with a gate: while it is shut, `write` hangs.

    failures: how many of the next calls fail. each: called with every write.
    """

    name = "remote"

    def __init__(self, failures: int = 0, each: Callable[[], object] = lambda: None) -> None:
        self.failures, self._each = failures, each
        self.gate, self.taken, self.closed = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.written: list[str] = []
        self.tries = 0

    def write(self, event: Event) -> None:
        self.tries += 1
        self.taken.set()
        self.gate.wait()
        self._each()
        if self.failures:
            self.failures -= 1
            raise SinkError("remote: no route")
        self.written.append(event.time)

    def close(self) -> None:
        self.closed.set()


class Pauses(Backoff):
    """As long as they would be, but over at once."""

    def __init__(self) -> None:
        super().__init__(1.0, 8.0, lambda: 0.0)
        self.seconds: list[float] = []

    def next(self) -> float:
        self.seconds.append(super().next())
        return 0.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[EventLog]:
    with EventLog(path) as opened:
        yield opened


def times(count: int, start: int = 0) -> list[str]:
    return [event(index).time for index in range(start, start + count)]


def append(log: EventLog, count: int, start: int = 0) -> None:
    log.append([event(index) for index in range(start, start + count)])


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.001)


def end(delivery: Delivery) -> None:
    delivery.stop()
    delivery.join()


def test_each_event_once_and_in_order(log: EventLog) -> None:
    remote = Remote()
    delivery = Delivery(remote, log)
    delivery.start()
    count = 2 * BATCH + 50
    for start in range(0, count, 50):
        append(log, 50, start)
    until(lambda: not delivery.waiting)
    end(delivery)
    assert remote.written == times(count)
    assert remote.closed.is_set()
    assert (delivery.isolation.errors, delivery.waiting, log.cursor("remote")) == (0, 0, count)


def test_an_output_that_was_never_used_begins_with_the_next_event(log: EventLog) -> None:
    append(log, 5)
    remote = Remote()
    delivery = Delivery(remote, log)
    assert delivery.waiting == 0
    delivery.start()
    append(log, 2, 5)
    end(delivery)
    assert remote.written == times(2, 5)


def test_a_failed_event_is_tried_again_with_growing_pauses_until_it_is_taken(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    remote, pauses = Remote(failures=6), Pauses()
    delivery = Delivery(remote, log, pauses=pauses)
    append(log, 3)
    assert delivery.waiting == 3
    delivery.start()
    until(lambda: not delivery.waiting)
    assert pauses.seconds == [1, 2, 4, 8, 8, 8]
    remote.failures = 1
    append(log, 1, 3)
    until(lambda: not delivery.waiting)
    end(delivery)
    assert pauses.seconds == [1, 2, 4, 8, 8, 8, 1]  # a success begins them anew
    assert remote.written == times(4)
    assert remote.tries == 4 + 7
    assert (delivery.isolation.errors, delivery.isolation.last_error) == (7, None)
    assert [r.getMessage() for r in caplog.records] == ["remote: remote: no route", "remote: works again"] * 2


def test_a_restart_goes_on_behind_the_last_delivered_event(path: Path) -> None:
    first, second = Remote(), Remote()
    with EventLog(path) as log:
        delivery = Delivery(first, log)
        delivery.start()
        append(log, 3)
        until(lambda: not delivery.waiting)
        first.failures = 1
        delivery.stop()
        append(log, 2, 3)
        delivery.join()
    with EventLog(path) as log:
        delivery = Delivery(second, log)
        append(log, 1, 5)
        delivery.start()
        end(delivery)
    assert first.written + second.written == times(6)


class TestTheEnd:
    def test_what_waits_is_delivered_for_as_long_as_there_is_time_and_the_rest_stays(self, log: EventLog) -> None:
        clock = Clock()

        def takes_a_second() -> None:
            clock.now += 1

        remote = Remote(each=takes_a_second)
        remote.gate.clear()
        delivery = Delivery(remote, log, last_s=3.5, clock=clock)
        delivery.start()
        append(log, 10)
        assert remote.taken.wait(5)
        delivery.stop()
        remote.gate.set()
        delivery.join()
        assert remote.written == times(4)
        assert remote.closed.is_set()
        assert (delivery.waiting, log.cursor("remote")) == (6, 4)
        again = Remote()
        delivery = Delivery(again, log)
        delivery.start()
        end(delivery)
        assert again.written == times(6, 4)

    def test_an_output_that_fails_then_is_not_tried_again(self, log: EventLog) -> None:
        remote = Remote(failures=1)
        remote.gate.clear()
        delivery = Delivery(remote, log, pauses=Backoff(60, 60))
        delivery.start()
        append(log, 3)
        assert remote.taken.wait(5)
        delivery.stop()
        remote.gate.set()
        delivery.join()
        assert (remote.tries, remote.written, delivery.waiting) == (1, [], 3)
        assert remote.closed.is_set()

    @pytest.mark.parametrize(("failures", "waiting"), [(1, 0), (9, 1)])
    def test_it_tries_once_more_and_does_not_wait_for_that(self, log: EventLog, failures: int, waiting: int) -> None:
        remote = Remote(failures=failures)
        delivery = Delivery(remote, log, pauses=Backoff(600, 600))
        delivery.start()
        append(log, 1)
        until(lambda: delivery.isolation.last_error)
        end(delivery)
        assert remote.closed.wait(5)
        assert (remote.tries, delivery.waiting) == (2, waiting)

    def test_an_output_that_hangs_is_left_behind(self, log: EventLog) -> None:
        remote = Remote()
        remote.gate.clear()
        delivery = Delivery(remote, log, last_s=0.05)
        delivery.start()
        append(log, 2)
        assert remote.taken.wait(5)
        delivery.stop()
        delivery.join(more_s=0.05)
        assert (remote.written, remote.closed.is_set(), delivery.waiting) == ([], False, 2)
        remote.gate.set()
        assert remote.closed.wait(5)

    def test_one_that_was_never_started_can_be_ended(self, log: EventLog) -> None:
        end(Delivery(Remote(), log))


def test_events_that_were_removed_are_not_waited_for(log: EventLog, path: Path) -> None:
    """As by a retention that did not wait for an output."""
    log.cursor("remote")
    append(log, 3)
    log.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DELETE FROM events")
    with EventLog(path) as again:
        remote = Remote()
        delivery = Delivery(remote, again)
        delivery.start()
        until(lambda: not delivery.waiting)
        append(again, 2, 3)
        end(delivery)
        assert remote.written == times(2, 3)


def test_an_event_that_cannot_be_read_is_left_out(log: EventLog, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As one of another version."""
    log.cursor("remote")
    append(log, 3)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE events SET event = '{}' WHERE seq = 2")
    remote = Remote()
    delivery = Delivery(remote, log)
    delivery.start()
    until(lambda: not delivery.waiting)
    end(delivery)
    assert remote.written == [times(3)[0], times(3)[2]]
    assert "event 2 of" in caplog.text

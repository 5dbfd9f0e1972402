"""A slow output's thread: order, room, errors, and an output that hangs."""

import threading
import time
from collections.abc import Callable

import pytest

from edge_app.errors import SinkError
from edge_app.outputs.frames.queued import DEPTH, QueuedOutput
from edge_app.outputs.output import FrameOutput
from edge_app.records import FrameResult
from tests.media import frame, result


class Inner(FrameOutput):
    """An output with a gate: while it is shut, `write` hangs as a dead network disk does.

    taken: set once `write` has begun. failed: set once it has failed. failures: how many of the next calls fail.
    """

    name = "inner"

    def __init__(self) -> None:
        self.gate, self.taken, self.failed = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.written: list[int] = []
        self.threads: set[str] = set()
        self.closed = False
        self.failures = 0

    def write(self, result: FrameResult) -> None:
        self.taken.set()
        self.gate.wait()
        self.threads.add(threading.current_thread().name)
        if self.failures:
            self.failures -= 1
            self.failed.set()
            raise SinkError("inner: no room")
        self.written.append(result.frame.index)

    def close(self) -> None:
        self.gate.wait()
        self.closed = True


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "never came true"
        time.sleep(0.001)


def results(count: int, start: int = 0) -> list[FrameResult]:
    return [result(frame(i), (1, "mask", 0.9)) for i in range(start, start + count)]


@pytest.mark.parametrize("live", [True, False])
def test_everything_is_written_in_order_by_another_thread(live: bool) -> None:
    inner = Inner()
    output = QueuedOutput(inner, live)
    for one in results(DEPTH):
        output.write(one)
    output.close()
    assert (inner.written, inner.closed, inner.threads) == (list(range(DEPTH)), True, {"inner-output"})


def test_a_file_waits_for_room_and_loses_nothing() -> None:
    inner, fed = Inner(), list[int]()
    inner.gate.clear()
    output = QueuedOutput(inner, live=False)

    def feed() -> None:
        for one in results(3 * DEPTH):
            output.write(one)
            fed.append(one.frame.index)

    feeding = threading.Thread(target=feed)
    feeding.start()
    until(lambda: len(fed) == DEPTH + 1)  # one is held by the thread, and the queue is full
    feeding.join(0.05)
    assert (len(fed), inner.written) == (DEPTH + 1, [])
    inner.gate.set()
    feeding.join()
    output.close()
    assert inner.written == list(range(3 * DEPTH))
    assert output.left_out == 0


def test_a_live_source_leaves_out_what_finds_no_room(caplog: pytest.LogCaptureFixture) -> None:
    inner = Inner()
    inner.gate.clear()
    output = QueuedOutput(inner, live=True, called="door.mp4")
    output.write(results(1)[0])
    assert inner.taken.wait(5)
    for one in results(DEPTH + 4, start=1):
        output.write(one)
    inner.gate.set()
    output.close()
    assert inner.written == list(range(DEPTH + 1))
    assert output.left_out == 4
    assert "door.mp4: 4 frames left out" in caplog.text


@pytest.mark.parametrize("live", [True, False])
def test_an_output_that_hangs_is_an_error_and_closing_leaves_it_behind(live: bool) -> None:
    inner = Inner()
    inner.gate.clear()
    output = QueuedOutput(inner, live, stuck_s=0.05)

    def feed() -> None:
        for one in results(2000):
            output.write(one)
            time.sleep(0.001)

    with pytest.raises(SinkError, match=r"inner: has written nothing for 0\.05 s"):
        feed()
    with pytest.raises(SinkError, match=r"inner: did not finish within 0\.05 s"):
        output.close()
    assert (inner.written, inner.closed) == ([], False)
    inner.gate.set()


def test_an_error_is_told_once_and_writing_goes_on() -> None:
    inner = Inner()
    inner.failures = 1
    output = QueuedOutput(inner, live=False)
    first, second, third = results(3)
    output.write(first)
    assert inner.failed.wait(5)
    with pytest.raises(SinkError, match="no room"):
        until(lambda: output.write(second))  # the thread is about to hand the error over
    output.write(third)
    output.close()
    assert inner.written[-1] == 2
    assert 0 not in inner.written


def test_after_an_error_nothing_is_tried_until_somebody_has_heard_of_it() -> None:
    inner = Inner()
    inner.failures = 1
    inner.gate.clear()
    output = QueuedOutput(inner, live=False)
    for one in results(DEPTH):
        output.write(one)
    inner.gate.set()
    with pytest.raises(SinkError, match="no room"):
        output.close()
    assert (inner.written, inner.closed) == ([], True)

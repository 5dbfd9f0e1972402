"""A slow sink's thread: order, room, errors, and a sink that hangs."""

import threading
import time

import pytest

from edge_app.errors import SinkError
from edge_app.outputs.queued import DEPTH, QueuedSink
from edge_app.records import FrameResult
from tests.media import frame, result


class Inner:
    """A sink with a gate: while it is shut, `write` hangs as a dead network disk does."""

    name, retry_s, catches_up = "inner", 0.0, False

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.written: list[int] = []
        self.threads: set[str] = set()
        self.closed = False
        self.failing = False

    def write(self, result: FrameResult) -> None:
        self.gate.wait()
        self.threads.add(threading.current_thread().name)
        if self.failing:
            raise SinkError("inner: no room")
        self.written.append(result.frame.index)

    def close(self) -> None:
        self.gate.wait()
        self.closed = True


def until(condition: object, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "never came true"
        time.sleep(0.01)


def results(count: int, start: int = 0) -> list[FrameResult]:
    return [result(frame(i), (1, "mask", 0.9)) for i in range(start, start + count)]


@pytest.mark.parametrize("live", [True, False])
def test_everything_is_written_in_order_by_another_thread(live: bool) -> None:
    inner = Inner()
    sink = QueuedSink(inner, live)
    for one in results(DEPTH):
        sink.write(one)
    sink.close()
    assert (inner.written, inner.closed, inner.threads) == (list(range(DEPTH)), True, {"inner-sink"})


def test_a_file_waits_for_room_and_loses_nothing() -> None:
    inner = Inner()
    inner.gate.clear()
    sink = QueuedSink(inner, live=False)
    threading.Timer(0.3, inner.gate.set).start()
    for one in results(3 * DEPTH):
        sink.write(one)
    sink.close()
    assert inner.written == list(range(3 * DEPTH))
    assert sink.left_out == 0


def test_a_live_source_leaves_out_what_finds_no_room(caplog: pytest.LogCaptureFixture) -> None:
    inner = Inner()
    inner.gate.clear()
    sink = QueuedSink(inner, live=True, called="door.mp4")
    sink.write(results(1)[0])
    until(sink._box.empty)  # the thread holds the first
    for one in results(DEPTH + 4, start=1):
        sink.write(one)
    inner.gate.set()
    sink.close()
    assert inner.written == list(range(DEPTH + 1))
    assert sink.left_out == 4
    assert "door.mp4: 4 frames left out" in caplog.text


@pytest.mark.parametrize("live", [True, False])
def test_a_sink_that_hangs_is_an_error_and_closing_leaves_it_behind(live: bool) -> None:
    inner = Inner()
    inner.gate.clear()
    sink = QueuedSink(inner, live, stuck_s=0.3)

    def feed() -> None:
        for one in results(2000):
            sink.write(one)
            time.sleep(0.005)

    with pytest.raises(SinkError, match=r"inner: has written nothing for 0\.3 s"):
        feed()
    with pytest.raises(SinkError, match="did not finish"):
        sink.close()
    assert inner.written == []
    inner.gate.set()


def test_an_error_is_told_once_and_writing_goes_on() -> None:
    inner = Inner()
    inner.failing = True
    sink = QueuedSink(inner, live=False)
    sink.write(results(1)[0])
    until(lambda: sink._error)
    inner.failing = False
    with pytest.raises(SinkError, match="no room"):
        sink.write(results(1, 1)[0])
    sink.write(results(1, 2)[0])
    sink.close()
    assert inner.written == [2]


def test_closing_tells_of_the_last_error() -> None:
    inner = Inner()
    inner.failing = True
    sink = QueuedSink(inner, live=False)
    sink.write(results(1)[0])
    with pytest.raises(SinkError, match="no room"):
        sink.close()
    assert inner.closed

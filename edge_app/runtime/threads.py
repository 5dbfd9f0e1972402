"""Threads of a pipeline: work done ahead in order, and an event that ends what waits."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

POLL_S = 0.2
LEAVE_S = 0.5
_END = object()
In = TypeVar("In")
Out = TypeVar("Out")


def prefetch(
    work: Callable[[In], Out],
    items: Iterable[In],
    depth: int = 1,
    given_up: threading.Event | None = None,
    idle: Callable[[], object] | None = None,
) -> Iterator[Out]:
    """`map(work, items)` run in a thread of its own: `depth` results wait for whoever takes them, one is being made.

    With a depth of 0 the next item is asked for only when the last result was taken, so that nothing grows old here.
    Order is kept. An error in `items` or `work` is raised here after the results before it have been taken.
    Once `given_up` is set, a result that is not there is waited for no longer: `work` may hang.
    `idle` is called, by whoever takes the results, again and again while there is none.
    """
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()
    room = threading.Semaphore(depth + 1)
    left = threading.Event()
    error: list[BaseException] = []

    def feed() -> None:
        try:
            source = iter(items)
            while room.acquire() and not left.is_set():
                try:
                    item = next(source)
                except StopIteration:
                    break
                box.put(work(item))
        except BaseException as caught:
            error.append(caught)
        finally:
            if hasattr(items, "close"):
                items.close()
            box.put(_END)

    def take() -> Any:
        while True:
            try:
                return box.get(timeout=POLL_S)
            except queue.Empty:
                if given_up is not None and given_up.is_set():
                    return _END
                if idle is not None:
                    idle()

    thread = threading.Thread(target=feed, name=getattr(work, "__name__", "stage"), daemon=True)
    thread.start()
    try:
        while (made := take()) is not _END:
            room.release()
            yield made
        if error:
            raise error[0]
    finally:
        left.set()
        room.release()
        thread.join(LEAVE_S)  # whoever leaves early may use what `work` uses; `items` may hang, so not for ever


class CallWhenSet:
    """While inside, `call` is made once `event` is set: a signal handler cannot wake a thread that waits on a queue."""

    def __init__(self, event: threading.Event, call: Callable[[], object]) -> None:
        self._event, self._call, self._done = event, call, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stop-watch", daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(POLL_S / 2):
            if self._event.is_set():
                self._call()
                return

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join(1.0)

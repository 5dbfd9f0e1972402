"""Events into the store's log, from which slow outputs are fed."""

import time
from collections import deque
from collections.abc import Callable

from edge_app.errors import SinkError
from edge_app.outputs.output import EventOutput, Held
from edge_app.records import Event
from edge_app.store.event_log import EventLog

KEEP = 10_000  # events held while the disk is full; about 5 MB
RETRY_S = 1.0  # between two tries at a disk that is full
BUSY_S = 0.05  # for another program that has locked the file: a camera waits meanwhile


class StoredEvents(EventOutput):
    """Appends events to a log. Those that cannot be written are held and written later, in order.

    Args:
        log: an open one, which whoever opened it closes.
        keep: events held at most.
        clock: seconds.
    """

    name = "store"
    from_log = False

    def __init__(self, log: EventLog, keep: int = KEEP, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._log, self._keep, self._clock = log, keep, clock
        self._held: deque[Event] = deque()
        self._lost = 0
        self._again_at = 0.0

    def write(self, event: Event) -> None:
        self._held.append(event)
        if len(self._held) > self._keep:
            self._held.popleft()
            self._lost += 1
        self.flush()

    def flush(self) -> None:
        if self._held and self._clock() >= self._again_at:
            self._append()
        elif self._held:
            raise Held(f"{self._log.path}: {len(self._held)} events wait to be stored")

    def close(self) -> None:
        try:
            if self._held:
                self._log.append([*self._held])
                self._held.clear()
        except SinkError as error:
            raise SinkError(f"{error}; {self._lost + len(self._held)} events are lost") from None
        if self._lost:
            raise SinkError(f"{self._log.path}: {self._lost} events are lost, for which there was no room")

    def _append(self) -> None:
        try:
            self._log.append([*self._held], BUSY_S)
        except SinkError:
            self._again_at = self._clock() + RETRY_S
            raise
        self._held.clear()

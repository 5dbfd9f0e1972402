"""Feeds one slow output from the log of events: in order, each event at least once, at its own pace, for ever."""

import logging
import threading
import time
from collections.abc import Callable

from edge_app.clock import Backoff
from edge_app.outputs.output import EventOutput, Isolation
from edge_app.store.event_log import EventLog

log = logging.getLogger(__name__)

BATCH = 100  # events read at a time
LAST_S = 5.0  # how long an ending run goes on delivering; what is left then waits for the next one
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


class Delivery:
    """A thread that writes to one output what its cursor in the log has not passed yet.

    The cursor moves after `write` has returned: a program that is killed in between delivers that event once more, and
    none is left out. An output that was never used before begins with the next event. One that does not take an event
    is tried again, with growing pauses, until it does.

    Args:
        output: only this thread writes to it and closes it.
        log: an open one.
        last_s: see `LAST_S`.
        pauses: between two tries.
    """

    def __init__(
        self,
        output: EventOutput,
        log: EventLog,
        last_s: float = LAST_S,
        pauses: Backoff | None = None,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        self.name = output.name
        self.isolation = Isolation(output.name)
        self._output, self._log, self._last_s, self._clock = output, log, last_s, clock
        self._pauses = pauses or Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        log.cursor(output.name)
        self._stopping, self._deadline = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._work, name=f"{output.name}-delivery", daemon=True)

    @property
    def waiting(self) -> int:
        """Events that have not been delivered."""
        return max(0, self._log.newest - self._log.delivered(self.name))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End once everything is delivered, or after `last_s`, or with the next failure."""
        self._deadline = self._clock() + self._last_s
        self._stopping.set()
        self._log.wake()

    def join(self, more_s: float = 1.0) -> None:
        """Wait for the end, until `more_s` after the deadline; an output that hangs is left behind."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, self._deadline - self._clock()) + more_s)

    def _work(self) -> None:
        while self._clock() < self._deadline:
            self.isolation.attempt(self._deliver)
            if self.isolation.last_error:
                if self._stopping.is_set():
                    break
                self._stopping.wait(self._pauses.next())  # stopped meanwhile, it tries once more
            elif self._stopping.is_set() and not self.waiting:
                break
            else:
                self._log.wait_for_more(self._log.delivered(self.name), self._stopping.is_set)
        self.isolation.attempt_now(self._output.close)

    def _deliver(self) -> None:
        """Deliver a batch, as far as the output takes it."""
        generation, newest = self._log.generation, self._log.newest
        events = self._log.after(self._log.delivered(self.name), BATCH)
        for number, event in events:
            if self._clock() >= self._deadline or generation != self._log.generation:
                return
            if event is None:
                log.error("%s: event %d of %s cannot be read: left out", self.name, number, self._log.path)
            else:
                self._output.write(event)
            self._log.advance(self.name, number, generation)
            self._pauses.reset()
        if not events and newest > self._log.delivered(self.name):  # what is missing was removed meanwhile
            self._log.advance(self.name, newest, generation)

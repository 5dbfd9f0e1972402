"""The event outputs of a process: takes the events of all cameras, writes each to every output."""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from edge_app.config.settings import Settings
from edge_app.outputs import registry
from edge_app.outputs.events.delivery import Delivery
from edge_app.outputs.events.stored import StoredEvents
from edge_app.outputs.output import EventOutput, Isolation, Outputs
from edge_app.records import Event
from edge_app.store.event_log import EventLog
from edge_app.store.place import store_path

log = logging.getLogger(__name__)


class EventOutputs(Outputs):
    """A context manager; any thread may write. An output that is slow or fails holds up neither the cameras nor others.

    Args:
        settings: which outputs.

    Raises (on construction):
        UsageError, SinkError: an output that cannot work at all; those opened before it are closed again.
    """

    def __init__(self, settings: Settings) -> None:
        self._lock = threading.Lock()
        self._direct: list[tuple[EventOutput, Isolation]] = []
        self._deliveries: list[Delivery] = []
        self._log: EventLog | None = None
        with ExitStack() as opened:
            outputs: list[EventOutput] = []
            for _, factory in registry.wanted(registry.EVENT_OUTPUTS, settings):
                output: EventOutput = factory(settings)
                opened.callback(output.close)
                outputs.append(output)
            remote = [output for output in outputs if output.from_log]
            if remote or settings.store.path:
                self._log = EventLog(
                    store_path(settings.store), settings.output.permissions, keep=settings.store.path is not None
                )
                opened.callback(self._log.close)
                outputs.insert(0, StoredEvents(self._log))  # first: what others have been given can be looked up there
                self._deliveries += [Delivery(output, self._log) for output in remote]
            self._direct += [(output, Isolation(output.name)) for output in outputs if not output.from_log]
            opened.pop_all()
        for delivery in self._deliveries:
            delivery.start()

    @property
    def waiting(self) -> dict[str, int]:
        """How many events each output that is fed from the log has not got yet."""
        return {delivery.name: delivery.waiting for delivery in self._deliveries}

    @property
    def failed(self) -> list[str]:
        """What each output that has not kept all events last said. What waits in the log for delivery is kept."""
        return [isolation.last_error for _, isolation in self._direct if isolation.last_error]

    def write(self, events: Sequence[Event]) -> None:
        """Take in what one frame has brought; with nothing, what is held is tried once more."""
        with self._lock:
            for output, isolation in self._direct:
                for event in events:
                    isolation.attempt(partial(output.write, event))
                if not events:
                    isolation.attempt(output.flush)

    def close(self) -> None:
        """Write and deliver what waits, the latter for a while: what is left goes out after the next start."""
        with self._lock:
            for output, isolation in self._direct:
                if isolation.attempt_now(output.close):  # which makes up for all that had failed
                    isolation.last_error = None
        for delivery in self._deliveries:
            delivery.stop()
        for delivery in self._deliveries:
            delivery.join()
            if left := delivery.waiting:
                where = self._log.path if self._log else ""
                log.warning("%s: %d events are not delivered yet; they wait in %s", delivery.name, left, where)
        if self._log is not None:
            self._log.close()

    def isolations(self) -> list[Isolation]:
        return [isolation for _, isolation in self._direct] + [delivery.isolation for delivery in self._deliveries]

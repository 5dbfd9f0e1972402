"""A slow sink in a thread of its own: takes results at once, hands them on in order, never holds up the camera long.

Of a file every result is written, so a full queue is waited for; of a live source a result that finds no room is left
out. A sink that has taken nothing for `STUCK_S` counts as failed until it moves again.
"""

import logging
import queue
import threading
import time

from edge_app.errors import SinkError
from edge_app.outputs.sink import Sink
from edge_app.records import FrameResult

log = logging.getLogger(__name__)

DEPTH = 3  # results that wait; each holds a frame, 6 MB at 1080p
STUCK_S = 10.0
_POLL_S = 0.2


class QueuedSink:
    """A `Sink` around another. An error of the inner sink is raised by the next `write` or by `close`.

    left_out: results of a live source that found no room.

    Args:
        sink: only its thread calls it from now on.
        live: leave results out rather than wait.
        called: names this output in messages, as several cameras have one each; None: by its kind.
        stuck_s: seconds after which a sink that takes nothing is given up for now.
    """

    catches_up = False

    def __init__(self, sink: Sink, live: bool, called: str | None = None, stuck_s: float = STUCK_S) -> None:
        self._sink, self._live, self._stuck_s = sink, live, stuck_s
        self.name, self.retry_s = sink.name, sink.retry_s
        self._called = called or sink.name
        self.left_out = 0
        self._box: queue.Queue[FrameResult | None] = queue.Queue(DEPTH)
        self._error: Exception | None = None
        self._took_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"{sink.name}-sink", daemon=True)
        self._thread.start()

    def write(self, result: FrameResult) -> None:
        """Raises: what the inner sink raised since the last call; SinkError: it takes nothing any more."""
        self._raise_error()
        if self._box.empty():
            self._took_at = time.monotonic()  # it had nothing to take until now
        while True:
            try:
                self._box.put(result, block=not self._live, timeout=_POLL_S)
                return
            except queue.Full:
                self._raise_error()
                if time.monotonic() - self._took_at > self._stuck_s:
                    raise SinkError(f"{self._called}: has written nothing for {self._stuck_s:g} s") from None
                if self._live:
                    self.left_out += 1
                    return

    def close(self) -> None:
        """Write what waits and close the inner sink; one that hangs is left behind after `stuck_s`.

        Raises:
            SinkError: it hangs. Or what the inner sink raised.
        """
        while self._thread.is_alive():
            try:
                self._box.put(None, timeout=_POLL_S)
                break
            except queue.Full:
                if time.monotonic() - self._took_at > self._stuck_s:
                    break
        self._thread.join(self._stuck_s)
        if self.left_out:
            log.warning("%s: %d frames left out: writing did not keep up", self._called, self.left_out)
        self._raise_error()
        if self._thread.is_alive():
            raise SinkError(f"{self._called}: did not finish within {self._stuck_s:g} s")

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            result = self._box.get()
            self._took_at = time.monotonic()
            try:
                if result is None:
                    self._sink.close()
                    return
                if self._error is None:  # after a failure nothing is tried until somebody has heard of it
                    self._sink.write(result)
            except Exception as error:
                self._error = error
                if result is None:
                    return

"""A slow frame output in a thread of its own: takes results at once, in order, never holds up the camera for long.

Of a file every result is written, so a full queue is waited for; of a live source a result that finds no room is left
out. An output that has taken nothing for `STUCK_S` counts as failed until it moves again.
"""

import logging
import queue
import threading
import time
from pathlib import Path

from edge_app.errors import SinkError
from edge_app.outputs.output import FrameOutput
from edge_app.records import FrameResult

log = logging.getLogger(__name__)

DEPTH = 3  # results that wait; each holds a frame, 6 MB at 1080p
STUCK_S = 10.0
_POLL_S = 0.2


class QueuedOutput(FrameOutput):
    """A frame output around another. An error of the inner one is raised by the next `write` or by `close`.

    left_out: results of a live source that found no room.

    Args:
        output: only this thread calls it from now on.
        live: leave results out rather than wait.
        called: names this output in messages, as several cameras have one each; None: by its kind.
        stuck_s: seconds after which an output that takes nothing is given up for now.
    """

    def __init__(self, output: FrameOutput, live: bool, called: str | None = None, stuck_s: float = STUCK_S) -> None:
        self._output, self._live, self._stuck_s = output, live, stuck_s
        self.name, self.retry_s = output.name, output.retry_s
        self._called = called or output.name
        self.left_out = 0
        self._box: queue.Queue[FrameResult | None] = queue.Queue(DEPTH)
        self._error: Exception | None = None
        self._took_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name=f"{output.name}-output", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path | None:  # type: ignore[override]
        return self._output.path

    def write(self, result: FrameResult) -> None:
        """Raises: what the inner output raised since the last call; SinkError: it takes nothing any more."""
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
        """Write what waits and close the inner output; one that hangs is left behind after `stuck_s`.

        Raises:
            SinkError: it hangs. Or what the inner output raised.
        """
        stuck = False
        while self._thread.is_alive() and not stuck:
            try:
                self._box.put(None, timeout=_POLL_S)
                break
            except queue.Full:
                stuck = time.monotonic() - self._took_at > self._stuck_s
        self._thread.join(0.0 if stuck else self._stuck_s)
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
                    self._output.close()
                    return
                if self._error is None:  # after a failure nothing is tried until somebody has heard of it
                    self._output.write(result)
            except Exception as error:
                self._error = error
                if result is None:
                    return

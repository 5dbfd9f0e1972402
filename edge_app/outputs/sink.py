"""Where results go: each sink takes a `FrameResult` at a time and writes one kind of output.

A sink raises `SinkError` on construction when it cannot work at all, and from `write` when one write failed.
`IsolatedSink` stands between a sink and the pipeline so that a failing one never stops the camera.
"""

import logging
import time
from typing import Protocol

from edge_app.errors import EdgeAppError
from edge_app.records import FrameResult

log = logging.getLogger(__name__)


class Sink(Protocol):
    """name: for messages and counts. retry_s: seconds a failed sink is left alone before its next write.

    catches_up: what could not be written is held, so that a later success, closing included, makes up for it.
    """

    name: str
    retry_s: float
    catches_up: bool

    def write(self, result: FrameResult) -> None: ...

    def close(self) -> None: ...


class IsolatedSink:
    """A sink whose failures are logged once per change, counted, and tried again after a pause.

    errors: failed writes. skipped: results it was not given while it paused. last_error: the newest message, or None
    while all is well.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink, self.name = sink, sink.name
        self.errors = self.skipped = 0
        self.last_error: str | None = None
        self._retry_at = 0.0

    def write(self, result: FrameResult) -> None:
        if self.last_error and time.monotonic() < self._retry_at:
            self.skipped += 1
            return
        try:
            self.sink.write(result)
        except Exception as error:
            self._failed(error)
            return
        if self.last_error:
            log.warning("%s: works again", self.name)
            self.last_error = None

    def close(self) -> None:
        try:
            self.sink.close()
        except Exception as error:
            self._failed(error)
            return
        if self.sink.catches_up:
            self.last_error = None

    def _failed(self, error: Exception) -> None:
        self.errors += 1
        self._retry_at = time.monotonic() + self.sink.retry_s
        message = str(error) if isinstance(error, EdgeAppError) else f"{type(error).__name__}: {error}"
        if self.last_error is None:
            log.error("%s: %s", self.name, message)
        self.last_error = message

"""What an output is: the two kinds, and the isolation that keeps a failing one from stopping a camera."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

from edge_app.errors import EdgeAppError, SinkError
from edge_app.records import Event, FrameResult
from edge_app.redact import redact

log = logging.getLogger(__name__)


class Held(SinkError):
    """Nothing was tried: what could not be written a moment ago still waits. Not counted as a failed write."""


class EventOutput(ABC):
    """Takes the events of all cameras, one at a time, in order. Opened once per process.

    Most outputs are slow or far away: they are fed from the log of events (`events.delivery`), in a thread of their
    own, each event until `write` has returned, after a restart too. The event may come twice then, with the same id.

    name: for messages and counts, and of the cursor in the log; never changed once released.
    from_log: False for one that is quick, keeps by itself what it could not write, and needs no log.

    Raises (on construction):
        EdgeAppError: it cannot work at all.
    """

    name: str
    from_log = True

    @abstractmethod
    def write(self, event: Event) -> None:
        """Deliver one event. It may take its time.

        Raises:
            SinkError: it was not delivered, and is tried again after 0.5 s, then less and less often, up to a minute.
                Any other exception counts as one too. Messages get the name of the output in front.
        """

    def flush(self) -> None:  # noqa: B027  most need nothing here
        """Try once more to write what is held. Called often; only for an output that is not fed from the log.

        Raises:
            SinkError: something is still held.
        """

    def close(self) -> None:  # noqa: B027  most need nothing here
        """Let go of what is open. Raises: SinkError: something is lost."""


class FrameOutput(ABC):
    """Takes the results of one camera, in its thread, and may leave frames out.

    name: for messages and counts. retry_s: seconds a failed one is left alone before its next write.
    path: the file that it writes, None while there is none. closed_by_user: somebody has asked to end the camera's run.

    Raises (on construction):
        EdgeAppError: it cannot work at all.
    """

    name: str
    retry_s: float = 0.0
    path: Path | None = None
    closed_by_user = False

    @abstractmethod
    def write(self, result: FrameResult) -> None:
        """Show or write one result.

        Raises:
            SinkError: this one failed; any other exception counts as one too.
        """

    def refresh(self) -> None:  # noqa: B027  most need nothing here
        """Called often in the main thread while the run lasts, and once after `close`: GUI toolkits draw there alone.

        Raises: as `write`.
        """

    def close(self) -> None:  # noqa: B027  most need nothing here
        """Finish the file. Raises: SinkError: it is not complete."""


class Outputs(ABC):
    """Outputs that are opened and closed together, each behind an `Isolation`. A context manager."""

    @abstractmethod
    def isolations(self) -> list["Isolation"]:
        """One for each output that is in use."""

    @abstractmethod
    def close(self) -> None:
        """Close all of them."""

    @property
    def errors(self) -> int:
        """Failed writes of all outputs."""
        return sum(self.errors_by_output.values())

    @property
    def errors_by_output(self) -> dict[str, int]:
        """Failed writes of each output."""
        return {isolation.name: isolation.errors for isolation in self.isolations()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Isolation:
    """Calls into an output whose failures are logged once per change, counted, and tried again after a pause.

    errors: failed calls. skipped: calls left out during a pause. last_error: the newest message, None while all is
    well.

    Args:
        name: of the output.
        retry_s: seconds without a call after one that failed.
        clock: seconds.
    """

    def __init__(self, name: str, retry_s: float = 0.0, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self.name, self._retry_s, self._clock = name, retry_s, clock
        self.errors = self.skipped = 0
        self.last_error: str | None = None
        self._retry_at = 0.0

    def attempt(self, call: Callable[[], object]) -> bool:
        """Whether it was made and went well; then the output works again."""
        if self.last_error and self._clock() < self._retry_at:
            self.skipped += 1
            return False
        if not self.attempt_now(call):
            return False
        if self.last_error:
            log.warning("%s: works again", self.name)
            self.last_error = None
        return True

    def attempt_now(self, call: Callable[[], object]) -> bool:
        """As `attempt`, without a pause; a success says nothing about an earlier failure."""
        try:
            call()
        except (Exception, SystemExit) as error:  # a library may call sys.exit
            self.failed(error)
            return False
        return True

    def failed(self, error: BaseException) -> None:
        """Count an error, and log it where the output worked before."""
        self.errors += not isinstance(error, Held)
        self._retry_at = self._clock() + self._retry_s
        message = str(error) if isinstance(error, EdgeAppError) else redact(f"{type(error).__name__}: {error}")
        if self.last_error is None:
            log.error("%s: %s", self.name, message)
        self.last_error = message

"""Tells systemd how the run is: datagrams to the socket named in NOTIFY_SOCKET; does nothing where there is none."""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from edge_app.monitor.status import RunStatus

log = logging.getLogger(__name__)

_SEND_S = 1.0  # a service manager that does not read must not hold up the run
_STATUS_S = 5.0


class Notifier:
    """READY=1 after the first finished frame, WATCHDOG=1 while frames keep finishing, STATUS= now and then.

    Args:
        environment: where NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are looked up.
        clock: seconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        self._clock = clock
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # @: the abstract namespace
        self._ping_s = _ping_interval(environment)
        self._ready = False
        self._pinged_at = self._status_at = 0.0
        self._frames = 0

    @property
    def wanted(self) -> bool:
        """Whether anyone listens."""
        return bool(self._address)

    def tick(self, run: RunStatus) -> None:
        """Send what is due; call it a few times a second."""
        if not self.wanted or not run.started:
            return
        now, due = self._clock(), []
        if not self._ready:
            self._ready = True
            due.append("READY=1")
        if self._ping_s is not None and now - self._pinged_at >= self._ping_s and run.frames != self._frames:
            self._pinged_at, self._frames = now, run.frames
            due.append("WATCHDOG=1")
        if due[:1] == ["READY=1"] or now - self._status_at >= _STATUS_S:
            self._status_at = now
            due.append(f"STATUS={_status(run)}")
        if due:
            self.send(*due)

    def ping(self) -> None:
        """WATCHDOG=1 where it is due, though no frame finishes: outputs that are being closed take their time."""
        now = self._clock()
        if self._ready and self._ping_s is not None and now - self._pinged_at >= self._ping_s:
            self._pinged_at = now
            self.send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self.send("STOPPING=1", f"STATUS={status}")

    def send(self, *lines: str) -> None:
        """Send lines as one message. One that cannot be sent is given up: the run is worth more."""
        if not self.wanted:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_SEND_S)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            log.debug("NOTIFY_SOCKET: %s", error)


def _ping_interval(environment: Mapping[str, str]) -> float | None:
    """Half of WATCHDOG_USEC in seconds; None where it is not set, or set for another process."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 2e6 if text.isdecimal() and int(text) > 0 else None


def _status(run: RunStatus) -> str:
    if reason := run.not_ready():
        return f"not ready: {reason}"
    return f"{run.frames} frames, {run.fps:.1f} fps, frame age {(run.age_s or 0) * 1e3:.0f} ms"

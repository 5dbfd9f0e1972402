"""Looks after a run from outside its pipeline: metrics server, watchdog and systemd."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from edge_app.clock import Awake
from edge_app.config.settings import Settings, WatchdogSettings
from edge_app.errors import WatchdogError
from edge_app.monitor.status import CameraStatus, RunStatus
from edge_app.monitor.systemd import Notifier
from edge_app.monitor.watchdog import Watchdog

OnStuck = Callable[[WatchdogError], None]
_TICK_S = 0.1
_LATE_S = 1.0  # a tick this late says that the whole program was stopped
GRACE_S = 8.0  # for a run that the watchdog ends; letting go of a hung source alone may take 4 s


class CameraWatchdog:
    """A context manager around the run of one camera, which it ends where it is late.

    `opened` and `closing` tell it how far the run is.

    Args:
        settings: of the camera.
        camera: its state.
        name: of the camera or its source in messages.
        on_stuck: told where a run that is late does not end either: only the process can be ended then.

    given_up: set when the watchdog has ended the run, so that nobody waits for a stage that hangs.
    """

    def __init__(
        self, settings: WatchdogSettings, camera: CameraStatus, name: str, on_stuck: OnStuck | None = None
    ) -> None:
        self._settings, self._camera, self._name = settings, camera, name
        self._on_stuck = on_stuck or (lambda error: None)
        self._error: WatchdogError | None = None
        self._closing, self._done = threading.Event(), threading.Event()
        self.given_up = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def opened(self) -> None:
        """The source and the outputs are open: watch them from now on."""
        if self._settings.no_frame_s is not None or self._settings.stuck_s is not None:
            self._thread = threading.Thread(target=self._watch, name="observe", daemon=True)
            self._thread.start()

    def closing(self) -> None:
        """The last frame is done. Closing the outputs may take as long as it needs."""
        self._closing.set()

    def raise_if_late(self) -> None:
        """Raises:
        WatchdogError: the watchdog has ended the run.
        """
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        watchdog, awake = Watchdog(self._settings, self._name, self._camera), Awake(_LATE_S)
        while not self._closing.wait(_TICK_S):
            if (error := watchdog.check(awake.since())) is not None:
                self._end(error)
                return

    def _end(self, error: WatchdogError) -> None:
        """End the run, and say so where it does not end in time."""
        self._error = error
        if self._camera.reader is not None:
            self._camera.reader.stop()
        self.given_up.set()
        if not self._done.wait(GRACE_S):
            late = f"{error}; the run did not close within {GRACE_S:g} s, outputs may be incomplete"
            self._on_stuck(WatchdogError(late))


class Observer:
    """A context manager around a run: one metrics server, and one word to systemd, for all of its cameras.

    Raises (on entering):
        UsageError: the metrics server cannot listen.
    """

    def __init__(self, settings: Settings, run: RunStatus) -> None:
        self._settings, self._run = settings, run
        self._notifier = Notifier()
        self._closing, self._done = threading.Event(), threading.Event()
        self._status = ""
        self._stack = ExitStack()
        self._thread = threading.Thread(target=self._watch, name="observe", daemon=True)

    def __enter__(self) -> Self:
        if self._settings.metrics.port is not None:
            from edge_app.monitor.prometheus import Exporter  # only where it is wanted

            self._stack.enter_context(Exporter(self._settings.metrics, self._run))
        if self._notifier.wanted:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.set()
        self._done.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        self._stack.close()

    def closing(self, status: str) -> None:
        """The cameras are ending. Closing their outputs may take as long as it needs."""
        if not self._closing.is_set():
            self._status = status
            self._closing.set()

    def _watch(self) -> None:
        while not self._closing.wait(_TICK_S):
            self._notifier.tick(self._run)
        self._notifier.tick(self._run)
        self._notifier.stopping(self._status)
        while not self._done.wait(_TICK_S):
            self._notifier.ping()

"""Says when a run no longer works: a live source without frames, or frames that nothing finishes."""

import math
import time
from collections.abc import Callable

from edge_app.config.settings import WatchdogSettings
from edge_app.errors import WatchdogError
from edge_app.monitor.status import CameraStatus


class Watchdog:
    """Asked again and again by one thread; keeps what it saw last.

    Args:
        settings: the limits, in seconds; None switches one off.
        name: of the source, for the message.
        camera: what it looks at; its source is open.
        clock: seconds, that of the camera.
    """

    def __init__(
        self,
        settings: WatchdogSettings,
        name: str,
        camera: CameraStatus,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        self._settings, self._name, self._camera, self._clock = settings, name, camera, clock
        self._in_work_since: float | None = None
        self._frames = 0

    def check(self, awake_since: float = -math.inf) -> WatchdogError | None:
        """What is late and by how much, in one line; None where nothing is.

        awake_since: the time before it does not count, see `clock.Awake`.
        """
        return self._silent(awake_since) or self._stuck(awake_since)

    def _silent(self, awake_since: float) -> WatchdogError | None:
        limit, reader = self._settings.no_frame_s, self._camera.reader
        if limit is None or reader is None or not reader.info.live:
            return None
        silent = self._clock() - max(reader.last_read_at or self._camera.opened_at, awake_since)
        if silent <= limit:
            return None
        return WatchdogError(
            f"{self._name}: no frame for {silent:.1f} s, {silent - limit:.1f} s over watchdog.no_frame_s = {limit:g}: "
            "check the camera and its connection"
        )

    def _stuck(self, awake_since: float) -> WatchdogError | None:
        limit, camera, now = self._settings.stuck_s, self._camera, self._clock()
        if limit is None:
            return None
        if not camera.in_work:
            self._in_work_since = None
        elif self._in_work_since is None or camera.frames != self._frames:
            self._in_work_since = now
        self._frames = camera.frames
        if self._in_work_since is None or (late := now - max(self._in_work_since, awake_since)) <= limit:
            return None
        return WatchdogError(
            f"{self._name}: frames are read but none was finished for {late:.1f} s, {late - limit:.1f} s over "
            f"watchdog.stuck_s = {limit:g}: a model or an output hangs, or the machine is too slow for this limit"
        )

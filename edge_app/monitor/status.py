"""How a run is at this moment: the pipeline writes it frame by frame, any other thread may read it."""

import time
from collections import deque
from collections.abc import Callable, Iterable

from edge_app.capture.reader import FrameReader
from edge_app.monitor.timings import Metrics
from edge_app.outputs.fan_out import Outputs
from edge_app.records import FrameResult

_MOMENTS = 50  # finished frames that the rate is taken over


class Health:
    """The state of an open run. Times are `time.monotonic()` seconds.

    observe: takes a stage, or `frame_age`, and the milliseconds of each finished frame.
    frames: finished so far; index and finished_at: of the last finished frame, -1 and None before it.
    """

    def __init__(
        self,
        reader: FrameReader,
        outputs: Outputs,
        ready_age_s: float,
        observe: Callable[[str, float], None] | None = None,
    ) -> None:
        self.reader, self.outputs, self._ready_age_s, self._observe = reader, outputs, ready_age_s, observe
        self.metrics = Metrics()
        self.opened_at = time.monotonic()
        self.frames, self.index = 0, -1
        self.finished_at: float | None = None
        self._captured_at = 0.0
        self._moments: deque[float] = deque([self.opened_at], maxlen=_MOMENTS)

    def finished(self, result: FrameResult) -> float:
        """Count a frame whose results have been written; gives its frame age in milliseconds."""
        now = time.monotonic()
        age_ms = (now - result.frame.captured_at) * 1e3
        for name, milliseconds in (*result.timings.items(), ("frame_age", age_ms)):
            self.metrics.add(name, milliseconds)
            if self._observe is not None:
                self._observe(name, milliseconds)
        self._moments.append(now)
        self._captured_at, self.index = result.frame.captured_at, result.frame.index
        self.finished_at = now
        self.frames += 1
        return age_ms

    @property
    def fps(self) -> float:
        """Finished frames a second over the last ones; sinks towards 0 where none finishes any more."""
        return (len(self._moments) - 1) / max(1e-6, time.monotonic() - self._moments[0])

    @property
    def age_s(self) -> float | None:
        """Seconds since the last finished frame was taken from the source; None before the first."""
        return None if self.finished_at is None else time.monotonic() - self._captured_at

    @property
    def in_work(self) -> bool:
        """Whether a frame was read that is not finished."""
        return self.reader.newest_index > self.index

    def not_ready(self) -> str | None:
        """Why nobody should rely on this run now, in one line; None where all is well."""
        if self.reader.stopped:
            return "the run is ending"
        age = self.age_s
        if age is None:
            return "no frame is finished yet"
        if age >= self._ready_age_s:
            lost = "" if self.reader.connected else ", the source is not connected"
            return f"the newest finished frame is {age:.1f} s old (metrics.ready_age_s = {self._ready_age_s:g} s){lost}"
        return None


class Fleet:
    """The state of the cameras of one run. A camera that has failed is never ready; the others go on.

    cameras: their health, None while the source is not open. waiting: camera -> why it could not be opened yet, the
    newest attempt's reason. failed: camera -> why it has ended for good. observe: takes a camera, a stage or
    `frame_age`, and the milliseconds of a frame.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        self.cameras: dict[str, Health | None] = dict.fromkeys(cameras)
        self.waiting: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self.observe: Callable[[str, str, float], None] | None = None
        self._away: set[str] = set()

    def enter(self, camera: str) -> None:
        """Count on this camera from now on, as on all that were never told to leave."""
        self._away.discard(camera)

    def leave(self, camera: str) -> None:
        """Nobody expects frames of this camera now: a file before its turn, or after it."""
        self._away.add(camera)
        self.cameras[camera] = None

    def opened(self, camera: str, health: Health) -> None:
        self.waiting.pop(camera, None)
        self.cameras[camera] = health

    @property
    def _alive(self) -> dict[str, Health | None]:
        away = self._away | self.failed.keys()
        return {name: health for name, health in self.cameras.items() if name not in away}

    @property
    def frames(self) -> int:
        """Finished by all of them; 0 until each has finished one, but for those that have failed or cannot be opened:
        a camera that is off keeps nobody from relying on the others."""
        counts = [health.frames if health else 0 for name, health in self._alive.items() if name not in self.waiting]
        return sum(counts) if all(counts) else 0

    @property
    def fps(self) -> float:
        return sum(health.fps for health in self._alive.values() if health)

    @property
    def age_s(self) -> float | None:
        """The worst of them; None where no frame is finished."""
        return max((health.age_s or 0.0 for health in self._alive.values() if health), default=None)

    def not_ready(self) -> str | None:
        """Why not all of them can be relied on, by the first that cannot; None where all is well."""
        for name, why in self.failed.items():
            return f"{name}: {why}"
        for name, health in self._alive.items():
            if reason := health.not_ready() if health else self._not_open(name):
                return f"{name}: {reason}"
        return None

    def _not_open(self, camera: str) -> str:
        reason = self.waiting.get(camera)
        return f"the source is not open yet ({reason})" if reason else "the source is not open yet"

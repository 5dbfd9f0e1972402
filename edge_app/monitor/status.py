"""How a run is at this moment: the pipelines write it frame by frame, any other thread may read it."""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable

from edge_app.capture.reader import FrameReader
from edge_app.monitor.timings import Metrics
from edge_app.outputs.event_outputs import EventOutputs
from edge_app.outputs.frame_outputs import FrameOutputs
from edge_app.outputs.tally import Tally, sum_of
from edge_app.records import FrameResult

_MOMENTS = 50  # finished frames that the rate is taken over


class CameraStatus:
    """The state of one camera, before its source is open, while it is, and after. Times are seconds of its clock.

    reader, outputs: None until the source is open. total: frames of a file as far as known, None of a live source.
    expected: False for a file before its turn and after its end. refused: why the source could not be opened yet, the
    newest attempt's reason. failed: why the camera has ended for good. observe: takes a stage, or `frame_age`, and the
    milliseconds of each finished frame. seconds: from opening to the last frame. index, finished_at: of the last
    finished frame, -1 and None before it.

    Args:
        name: of the camera.
        ready_age_s: a camera whose newest finished frame is older is not ready.
        clock: seconds, the one that frames are stamped with.
    """

    def __init__(self, name: str, ready_age_s: float, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self.name, self._ready_age_s, self._clock = name, ready_age_s, clock
        self.reader: FrameReader | None = None
        self.outputs: FrameOutputs | None = None
        self.total: int | None = None
        self.tally, self.metrics = Tally(), Metrics(clock)
        self.expected = True
        self.refused: str | None = None
        self.failed: str | None = None
        self.observe: Callable[[str, float], None] | None = None
        self.opened_at, self.seconds = 0.0, 0.0
        self.index = -1
        self.finished_at: float | None = None
        self.frame_age_ms = 0.0
        self._captured_at = 0.0
        self._moments: deque[float] = deque(maxlen=_MOMENTS)

    def opened(self, reader: FrameReader, outputs: FrameOutputs, total: int | None = None) -> None:
        """The source is open, and so are the outputs."""
        self.outputs, self.total, self.metrics = outputs, total, Metrics(self._clock)
        self.opened_at = self._clock()
        self._moments.append(self.opened_at)
        self.refused, self.reader = None, reader

    def finished(self, result: FrameResult) -> None:
        """Count a frame whose result has been written, and its events."""
        self.tally.add(result)
        self.tally.count(result.events)
        now = self._clock()
        self.frame_age_ms = (now - result.frame.captured_at) * 1e3
        for name, milliseconds in (*result.timings.items(), ("frame_age", self.frame_age_ms)):
            self.metrics.add(name, milliseconds)
            if self.observe is not None:
                self.observe(name, milliseconds)
        self._moments.append(now)
        self._captured_at, self.index = result.frame.captured_at, result.frame.index
        self.finished_at = now

    def ending(self) -> None:
        """The last frame is finished; closing the outputs does not count."""
        self.seconds = self.metrics.seconds

    @property
    def frames(self) -> int:
        """Finished so far."""
        return self.tally.frames

    @property
    def running(self) -> bool:
        return self.reader is not None and not self.reader.stopped

    @property
    def connected(self) -> bool:
        return self.reader is not None and self.reader.connected

    @property
    def fps(self) -> float:
        """Finished frames a second over the last ones; sinks towards 0 where none finishes any more."""
        if not self.running:
            return 0.0
        return (len(self._moments) - 1) / max(1e-6, self._clock() - self._moments[0])

    @property
    def age_s(self) -> float | None:
        """Seconds since the last finished frame was taken from the source; None before the first."""
        return None if self.finished_at is None else self._clock() - self._captured_at

    @property
    def in_work(self) -> bool:
        """Whether a frame was read that is not finished."""
        return self.reader is not None and self.reader.newest_index > self.index

    def not_ready(self) -> str | None:
        """Why nobody should rely on this camera now, in one line; None where all is well."""
        if self.failed:
            return self.failed
        if not self.expected:
            return None
        if self.reader is None:
            return f"the source is not open yet ({self.refused})" if self.refused else "the source is not open yet"
        if self.reader.stopped:
            return "the run is ending"
        age = self.age_s
        if age is None:
            return "no frame is finished yet"
        if age >= self._ready_age_s:
            lost = "" if self.reader.connected else ", the source is not connected"
            return f"the newest finished frame is {age:.1f} s old (metrics.ready_age_s = {self._ready_age_s:g} s){lost}"
        return None


class RunStatus:
    """The state of all cameras of a run: their sums, and the worst frame age.

    cameras: by name. events: the event outputs, which all of them share; None until they are open.

    Args:
        cameras: their names.
        ready_age_s, clock: of each, see `CameraStatus`.
    """

    def __init__(
        self, cameras: Iterable[str], ready_age_s: float, clock: Callable[[], float] = lambda: time.monotonic()
    ) -> None:
        self.cameras = {name: CameraStatus(name, ready_age_s, clock) for name in cameras}
        self.events: EventOutputs | None = None

    def observe(self, observe: Callable[[str, str, float], None]) -> None:
        """From now on this takes a camera, a stage or `frame_age`, and the milliseconds of each finished frame."""
        for name, camera in self.cameras.items():
            camera.observe = functools.partial(observe, name)

    @property
    def frames(self) -> int:
        """Finished so far."""
        return sum(camera.frames for camera in self.cameras.values())

    @property
    def total(self) -> int | None:
        """Frames of the files that have been opened, as far as known; None with a live source."""
        totals = [camera.total for camera in self.cameras.values() if camera.reader is not None]
        return None if None in totals else sum(total or 0 for total in totals)

    @property
    def fps(self) -> float:
        return sum(camera.fps for camera in self.cameras.values())

    @property
    def persons(self) -> int:
        """So far."""
        return sum(camera.tally.persons for camera in self.cameras.values())

    @property
    def verdicts(self) -> dict[str, int]:
        """Persons so far, by their last label."""
        return sum_of(camera.tally.verdicts for camera in self.cameras.values())

    @property
    def present(self) -> dict[str, int]:
        """Persons in view now, by their last label."""
        return sum_of(camera.tally.present for camera in self.cameras.values())

    @property
    def frame_age_ms(self) -> float:
        """Of the last finished frames, the worst."""
        return max((camera.frame_age_ms for camera in self.cameras.values() if camera.running), default=0.0)

    @property
    def dropped_frames(self) -> int:
        readers = [camera.reader for camera in self.cameras.values() if camera.reader]
        return sum(reader.stats()["dropped_frames"] for reader in readers)

    @property
    def age_s(self) -> float | None:
        """Seconds since the last finished frames were taken, the worst; None where no frame is finished."""
        ages = [camera.age_s for camera in self._relied_on if camera.running]
        return max((age for age in ages if age is not None), default=None)

    @property
    def started(self) -> bool:
        """Whether each camera has finished a frame, but for those that have failed or cannot be opened: a camera that
        is off keeps nobody from relying on the others."""
        frames = [camera.frames for camera in self._relied_on if not camera.refused]
        return bool(frames) and all(frames)

    def not_ready(self) -> str | None:
        """Why not all of them can be relied on, by the first that cannot; None where all is well."""
        for name, camera in sorted(self.cameras.items(), key=lambda item: not item[1].failed):
            if reason := camera.not_ready():
                return f"{name}: {reason}"
        return None

    @property
    def _relied_on(self) -> list[CameraStatus]:
        return [camera for camera in self.cameras.values() if camera.expected and not camera.failed]

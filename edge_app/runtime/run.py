"""A run: one camera or several in one process, each in its own pipeline, with models and event outputs shared.

Cameras are watched side by side, and files and pictures among them one after another. A camera that cannot be opened,
or that is lost for good, ends alone; as long as any other runs, one that does not open is tried again. Anything else
that ends a camera ends them all.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_app.capture.open import parse_source
from edge_app.config.settings import Settings
from edge_app.errors import EdgeAppError, SinkError, SourceError, StoppedEarly, UsageError
from edge_app.monitor.status import RunStatus
from edge_app.outputs.clashes import camera_videos, check_outputs
from edge_app.outputs.event_outputs import EventOutputs
from edge_app.outputs.summary_file import check_summary, write_summary
from edge_app.redact import shown_source
from edge_app.runtime.camera import Camera
from edge_app.runtime.observer import GRACE_S, Observer, OnStuck
from edge_app.runtime.summary import Summary, summarize
from edge_app.vision.analyzer import Analyzer

log = logging.getLogger(__name__)
_POLL_S = 0.1
_POLL_WINDOW_S = 0.01  # a window draws and takes keys meanwhile
_JOIN_S = 2.0


def run(
    settings: Settings,
    *,
    on_progress: Callable[[RunStatus], None] | None = None,
    on_failure: Callable[[str, SourceError], None] | None = None,
    on_stuck: OnStuck | None = None,
    stop: threading.Event | None = None,
    config: Path | None = None,
) -> Summary:
    """Watch every camera of `settings.cameras` to its end, or until `stop` is set; then frames already read are
    finished and files closed. `max_frames` is for each of them.

    Args:
        on_progress: told of the run after each frame, in the thread of its camera.
        on_failure: told the name of a camera that has ended for good, and why; only where there are several.
        on_stuck: see `CameraWatchdog`.
        config: the settings file in use, see `clashes.check_outputs`.

    Raises:
        UsageError, ModelError, SinkError: before the first frame for whatever cannot be used.
        StoppedEarly: `stop` was set before a camera had opened.
        SourceError: no camera can be opened.
        WatchdogError: one camera is late; then all are ended, and everything judged so far has been written.
    """
    check_outputs(settings, config)
    each, alone = _each_camera(settings), len(settings.cameras) == 1
    status = RunStatus((one.source.camera for one in each), settings.metrics.ready_age_s)
    stop = stop or threading.Event()
    with Observer(settings, status) as observer:
        analyzer = Analyzer(settings)
        if settings.output.summary:
            check_summary(settings.output.summary)
        with EventOutputs(settings) as events:
            status.events = events
            cameras = [
                Camera(
                    one,
                    status.cameras[one.source.camera],
                    analyzer,
                    events,
                    alone,
                    on_frame=lambda: on_progress(status) if on_progress else None,
                    on_stuck=on_stuck,
                )
                for one in each
            ]
            poll_s = _POLL_WINDOW_S if settings.output.show else _POLL_S
            _Supervisor(cameras, observer, None if alone else on_failure, poll_s).supervise(stop)
    faults = [
        camera.error for camera in cameras if camera.error is not None and not isinstance(camera.error, SourceError)
    ]
    if not any(camera.summary for camera in cameras):
        if faults:
            raise faults[0]
        if stop.is_set():
            raise StoppedEarly("stopped before a camera opened")
        if alone and cameras[0].error is not None:
            raise cameras[0].error
        raise SourceError(f"none of the {len(cameras)} cameras can be watched")
    summary = _summarize(settings, cameras, events, stop.is_set())
    if settings.output.summary:
        try:
            write_summary(settings.output.summary, summary.to_dict(), settings.output.permissions)
        except SinkError as error:
            log.error("summary: %s", error)
            summary.incomplete.append(str(error))
    if faults:
        raise faults[0]
    return summary


class _Supervisor:
    """Starts the cameras and waits until each has ended.

    Args:
        cameras: none of them started.
        observer: told why the run is ending.
        on_failure: see `run`.
        poll_s: how often it looks.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        observer: Observer,
        on_failure: Callable[[str, SourceError], None] | None,
        poll_s: float,
    ) -> None:
        self._cameras, self._observer, self._on_failure, self._poll_s = cameras, observer, on_failure, poll_s
        self._running: list[Camera] = []
        self._queue = deque(camera for camera in cameras if camera.in_turn)
        self._ending = threading.Event()
        self._deadline = math.inf
        self._started = time.monotonic()

    def supervise(self, stop: threading.Event) -> None:
        """Raises: nothing of the cameras' own; but whatever it raises, they are ended first."""
        try:
            for camera in self._queue:
                camera.status.expected = False
            for camera in self._cameras:
                if not camera.in_turn:
                    self._start(camera)
            while self._go_on() and time.monotonic() < self._deadline:
                self._running[0].thread.join(self._poll_s)
                self._refresh()
                self._reap()
                if stop.is_set():
                    self._end("closing the outputs")
                elif self._all_refused():
                    self._give_up()
            self._observer.closing("closing the outputs")
        finally:
            self._join_rest()

    def _start(self, camera: Camera) -> None:
        camera.start(self._ending)
        self._running.append(camera)

    def _go_on(self) -> bool:
        """Whether any camera runs; the next file is begun when the one before it has ended."""
        if self._queue and not self._ending.is_set() and not any(camera.in_turn for camera in self._running):
            self._start(self._queue.popleft())
        return bool(self._running)

    def _refresh(self) -> None:
        for camera in self._cameras:
            if camera.status.outputs is not None:
                camera.status.outputs.refresh()

    def _reap(self) -> None:
        """Take note of the cameras that have ended. A fault that is not a camera's own ends all, in GRACE_S."""
        for camera in [camera for camera in self._running if not camera.thread.is_alive()]:
            self._running.remove(camera)
            if isinstance(camera.error, StoppedEarly):
                continue
            if isinstance(camera.error, SourceError):
                camera.status.failed = str(camera.error)
                if self._on_failure:
                    self._on_failure(camera.name, camera.error)
            elif camera.error is not None:
                self._deadline = min(self._deadline, time.monotonic() + GRACE_S)
                self._end(str(camera.error))

    def _all_refused(self) -> bool:
        """Whether all that is left are cameras that have been tried for long enough and never opened."""
        waited = time.monotonic() - self._started
        return bool(self._running) and not self._queue and all(
            camera.refused and camera.status.reader is None and waited >= camera.wait_s for camera in self._running
        )  # fmt: skip

    def _give_up(self) -> None:
        for camera in self._running:
            camera.give_up()
        self._end("no camera can be opened")

    def _end(self, why: str) -> None:
        self._observer.closing(why)
        self._ending.set()

    def _join_rest(self) -> None:
        """Give the cameras that still run, because one hangs or we end by an error of our own, time for their ends."""
        self._ending.set()
        deadline = min(self._deadline, time.monotonic() + GRACE_S) + _JOIN_S
        for camera in self._running:
            camera.thread.join(max(0.0, deadline - time.monotonic()))
        self._refresh()


def _each_camera(settings: Settings) -> list[Settings]:
    """The settings of each camera alone.

    Raises:
        UsageError: something that cannot be had with several cameras, or a source that is none.
    """
    several = len(settings.cameras) > 1
    names = [source.camera for source in settings.cameras]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"sources: two cameras are named {again}: give each a name of its own")
    if settings.output.show and several:
        raise UsageError("output.show: several cameras cannot be shown in windows; write --output video.mp4 instead")
    each = []
    for source, video in zip(settings.cameras, camera_videos(settings), strict=True):
        try:
            spec = parse_source(source.uri)
            if source.every is not None and not spec.uri.startswith("http"):
                raise UsageError(f"{spec.display}: source.every is for pictures at http:// and https:// URLs")
        except UsageError as error:
            raise UsageError(f"{source.camera}: {error}" if several else str(error)) from None
        each.append(settings.of_camera(source, settings.output.model_copy(update={"video": video})))
    return each


def _summarize(settings: Settings, cameras: Sequence[Camera], events: EventOutputs, interrupted: bool) -> Summary:
    def named(camera: Camera | None, line: str) -> str:
        return f"{camera.name}: {line}" if camera and len(cameras) > 1 else line

    opened = [camera for camera in cameras if camera.summary]
    failed = [camera for camera in cameras if camera.error and not isinstance(camera.error, StoppedEarly)]
    never = [camera for camera in cameras if camera not in opened and camera not in failed]
    for camera in never:
        if camera.refused:
            log.warning("%s: never opened (%s)", camera.name, camera.refused)
    incomplete = [*events.failed]
    incomplete += [
        named(camera, line) for camera in opened for line in (camera.summary.failed if camera.summary else ())
    ]
    lines = [
        *(named(camera, _words(camera.error)) for camera in failed),
        *(named(camera, f"never opened ({camera.refused or 'the run was stopped before'})") for camera in never),
        *incomplete,
    ]
    summary = summarize(
        settings.output,
        settings.store,
        shown_source(settings.cameras[0].uri) if len(cameras) == 1 else f"{len(cameras)} cameras",
        [camera.summary for camera in opened if camera.summary],
        {camera.name for camera in cameras if camera.in_turn},
        events.errors,
        events.waiting,
        lines,
        interrupted,
    )
    summary.errors = [camera.error for camera in failed if isinstance(camera.error, EdgeAppError)]
    summary.incomplete = incomplete
    return summary


def _words(error: BaseException | None) -> str:
    return str(error) if isinstance(error, EdgeAppError) else repr(error)

"""Several cameras in one process: a pipeline of its own for each, models and outputs shared.

Cameras are watched side by side, and files and pictures among them one after another. A camera that cannot be opened,
or that is lost for good, ends alone; as long as any other runs, one that does not open is tried again. Anything else
that ends a run ends them all.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from edge_app.capture.open import parse_source
from edge_app.config.settings import Settings
from edge_app.errors import EdgeAppError, SourceError, StoppedEarly, UsageError
from edge_app.monitor.status import Fleet
from edge_app.outputs.clashes import check_outputs
from edge_app.outputs.files import in_file_name, video_path
from edge_app.outputs.jsonl import JsonlSink, SharedJsonlSink
from edge_app.outputs.sink import IsolatedSink
from edge_app.outputs.summary import SummarySink
from edge_app.runtime.observer import GRACE_S, CameraWatchdog, Observer, OnStuck
from edge_app.runtime.pipeline import Progress, Summary, run_observed
from edge_app.runtime.totals import FleetSummary, summarize, together
from edge_app.text import printable
from edge_app.vision.analyzer import Analyzer

log = logging.getLogger(__name__)
_POLL_S = 0.1
_JOIN_S = 2.0


class _Camera:
    """One of the cameras: its pipeline in a thread of its own, and how that ended.

    in_turn: a file, which waits until the one before it is through. refused: why it could not be opened yet.
    """

    def __init__(
        self,
        settings: Settings,
        analyzer: Analyzer,
        events: SharedJsonlSink | None,
        fleet: Fleet,
        on_stuck: OnStuck | None,
    ) -> None:
        self.name, self.wait_s = settings.source.camera, settings.source.wait_s
        self.in_turn = parse_source(settings.source.uri).kind in ("file", "images")
        self.progress: Progress | None = None
        self.summary: Summary | None = None
        self.refused: SourceError | None = None
        self.error: BaseException | None = None
        self._settings, self._analyzer, self._events, self._fleet = settings, analyzer, events, fleet
        self._on_stuck = on_stuck
        self._stop = threading.Event()
        self._given_up = False
        self.thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)

    def start(self, stop: threading.Event) -> None:
        self._stop = stop
        self._fleet.enter(self.name)
        self.thread.start()

    @property
    def opened(self) -> bool:
        return self._fleet.cameras[self.name] is not None

    def give_up(self) -> None:
        """Nobody waits for this camera any more: that it has not opened is its failure."""
        self._given_up = True

    def _run(self) -> None:
        try:
            with CameraWatchdog(self._settings, self._fleet, self._on_stuck) as watchdog:
                self.summary = run_observed(
                    self._settings,
                    watchdog,
                    self._stop,
                    self._tell,
                    shared=self._analyzer,
                    events=self._events,
                    on_refused=self._refuse,
                    on_error=self._fail,
                )
            watchdog.raise_if_late()
        except StoppedEarly:
            if self._given_up:
                self.error = self.refused
        except BaseException as error:
            self.error = error
        if self.in_turn:
            self._fleet.leave(self.name)

    def _refuse(self, error: SourceError) -> None:
        self.refused = error
        self._fleet.waiting[self.name] = str(error)

    def _fail(self, error: Exception) -> None:
        self.error = error

    def _tell(self, progress: Progress) -> None:
        self.progress = progress


def run(
    settings: Settings,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_failure: Callable[[str, SourceError], None] | None = None,
    on_stuck: OnStuck | None = None,
    stop: threading.Event | None = None,
    config: Path | None = None,
) -> FleetSummary:
    """Watch every camera of `settings.sources` to its end, or until `stop` is set. `max_frames` is for each of them.

    Args:
        on_progress: told of all together: sums, and the worst frame age.
        on_failure: told the name of a camera that has ended for good, and why.
        on_stuck: see `CameraWatchdog`.
        config: the settings file in use, see `clashes.check_outputs`.

    Raises:
        UsageError, ModelError, SinkError: before the first frame for whatever cannot be used.
        StoppedEarly: `stop` was set before a camera had opened.
        SourceError: no camera can be opened.
        WatchdogError: one camera is late; then all are ended, and everything judged so far has been written.
    """
    check_outputs(settings, config)
    each = settings_of_each(settings)
    fleet = Fleet(one.source.camera for one in each)
    stop = stop or threading.Event()
    with Observer(settings, fleet) as observer:
        analyzer = Analyzer(settings)
        output = settings.output
        totals = SummarySink(output.summary, output.permissions)
        events = IsolatedSink(JsonlSink(output.events, output.permissions)) if output.events else None
        shared = SharedJsonlSink(events.sink) if events and isinstance(events.sink, JsonlSink) else None
        cameras = [_Camera(one, analyzer, shared, fleet, on_stuck) for one in each]
        try:
            _Attendant(cameras, fleet, observer, on_progress, on_failure).attend(stop)
        finally:
            if events:
                events.close()
    summary = _summarize(settings, cameras, events, stop.is_set())
    faults = [camera.error for camera in cameras if camera.error and not isinstance(camera.error, SourceError)]
    if not any(camera.summary for camera in cameras):
        if faults:
            raise faults[0]
        if stop.is_set():
            raise StoppedEarly("stopped before a camera opened")
        raise SourceError(f"none of the {len(cameras)} cameras can be watched")
    summary.incomplete.extend(totals.finish(summary.to_dict()))
    if faults:
        raise faults[0]
    return summary


class _Attendant:
    """Starts the cameras, waits until each has ended, and tells on the way."""

    def __init__(
        self,
        cameras: Sequence[_Camera],
        fleet: Fleet,
        observer: Observer,
        on_progress: Callable[[Progress], None] | None,
        on_failure: Callable[[str, SourceError], None] | None,
    ) -> None:
        self._cameras, self._fleet, self._observer = cameras, fleet, observer
        self._on_progress, self._on_failure = on_progress, on_failure
        self._running: list[_Camera] = []
        self._queue = deque(camera for camera in cameras if camera.in_turn)
        self._ending = threading.Event()
        self._deadline = math.inf
        self._started = time.monotonic()

    def attend(self, stop: threading.Event) -> None:
        """Raises: nothing of the cameras' own; but whatever it raises, they are ended first."""
        try:
            for camera in self._queue:
                self._fleet.leave(camera.name)
            for camera in self._cameras:
                if not camera.in_turn:
                    self._start(camera)
            while self._go_on() and time.monotonic() < self._deadline:
                self._running[0].thread.join(_POLL_S)
                self._part()
                if stop.is_set():
                    self._end("closing the outputs")
                elif self._hopeless():
                    self._give_up()
                self._tell()
            self._observer.closing("closing the outputs")
        finally:
            self._leave()

    def _start(self, camera: _Camera) -> None:
        camera.start(self._ending)
        self._running.append(camera)

    def _go_on(self) -> bool:
        """Whether any camera runs; the next file is begun when the one before it has ended."""
        if self._queue and not self._ending.is_set() and not any(camera.in_turn for camera in self._running):
            self._start(self._queue.popleft())
        return bool(self._running)

    def _part(self) -> None:
        """Take leave of the cameras that have ended. A fault that is not a camera's own ends all, in GRACE_S."""
        for camera in [camera for camera in self._running if not camera.thread.is_alive()]:
            self._running.remove(camera)
            if isinstance(camera.error, SourceError):
                self._fleet.failed[camera.name] = str(camera.error)
                if self._on_failure:
                    self._on_failure(camera.name, camera.error)
            elif camera.error is not None:
                self._deadline = min(self._deadline, time.monotonic() + GRACE_S)
                self._end(str(camera.error))

    def _hopeless(self) -> bool:
        """Whether all that is left are cameras that have been tried for long enough and never opened."""
        waited = time.monotonic() - self._started
        return bool(self._running) and not self._queue and all(
            camera.refused and not camera.opened and waited >= camera.wait_s for camera in self._running
        )  # fmt: skip

    def _give_up(self) -> None:
        for camera in self._running:
            camera.give_up()
        self._end("no camera can be opened")

    def _end(self, why: str) -> None:
        self._observer.closing(why)
        self._ending.set()

    def _tell(self) -> None:
        told = [camera.progress for camera in self._cameras if camera.progress]
        if self._on_progress and told:
            self._on_progress(together(told, [camera.progress for camera in self._running if camera.progress]))

    def _leave(self) -> None:
        """Give the cameras that still run, because one hangs or we end by an error of our own, time for their ends."""
        self._ending.set()
        deadline = min(self._deadline, time.monotonic() + GRACE_S) + _JOIN_S
        for camera in self._running:
            camera.thread.join(max(0.0, deadline - time.monotonic()))


def cameras_of(sources: Sequence[str]) -> list[dict[str, str]]:
    """Several SOURCE arguments as the setting `sources` has them. A file gives the camera its name.

    Raises:
        UsageError: a source that is none.
    """
    given: list[dict[str, str]] = []
    taken: set[str] = set()
    for number, uri in enumerate(sources, start=1):
        spec = parse_source(uri)
        name = f"camera{number}" if spec.live else printable(Path(spec.uri).stem) or f"source{number}"
        name = next(free for free in _numbered(name) if in_file_name(free).lower() not in taken)
        taken.add(in_file_name(name).lower())
        given.append({"uri": uri, "camera": name})
    return given


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def settings_of_each(settings: Settings) -> list[Settings]:
    """The settings of each camera's own run.

    Raises:
        UsageError: something that cannot be had with several cameras, or a source that is none.
    """
    if settings.output.show:
        raise UsageError("output.show: several cameras cannot be shown in windows; write --output video.mp4 instead")
    each, videos = [], set[Path]()
    for source in settings.sources or ():
        try:
            parse_source(source.uri)
        except UsageError as error:
            raise UsageError(f"{source.camera}: {error}") from None
        video = settings.output.video and video_path(settings.output.video, source.camera)
        if video in videos:
            raise UsageError(f"{video}: the video of two cameras; give them names that differ in letters or digits")
        if video:
            videos.add(video)
        output = settings.output.model_copy(update={"video": video, "events": None, "summary": None})
        each.append(settings.model_copy(update={"source": source, "sources": None, "output": output}))
    return each


def _summarize(
    settings: Settings, cameras: Sequence[_Camera], events: IsolatedSink | None, interrupted: bool
) -> FleetSummary:
    done = [camera.summary for camera in cameras if camera.summary]
    incomplete = [events.last_error] if events and events.last_error else []
    incomplete += [f"{summary.camera}: {line}" for summary in done for line in summary.failed]
    never = {camera.name: camera.refused for camera in cameras if not (camera.summary or camera.error)}
    for name, error in never.items():
        if error:
            log.warning("%s: never opened (%s)", name, error)
    failed = [
        *(f"{camera.name}: {camera.error}" for camera in cameras if camera.error),
        *(f"{name}: never opened ({error or 'the run was stopped before'})" for name, error in never.items()),
        *incomplete,
    ]
    in_turn = {camera.name for camera in cameras if camera.in_turn}
    facts = summarize(settings.output, len(cameras), done, in_turn, failed, interrupted)
    return FleetSummary(facts, [c.error for c in cameras if isinstance(c.error, EdgeAppError)], incomplete)

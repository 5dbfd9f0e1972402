"""Several cameras in one process: a pipeline of its own for each, models and outputs shared.

A camera that cannot be opened, or that is lost for good, ends alone. Anything else that ends a run ends them all.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_app.clashes import check_outputs
from edge_app.errors import EdgeAppError, SourceError, StoppedEarly, UsageError
from edge_app.health import Fleet
from edge_app.observer import GRACE_S, FleetObserver, Observer
from edge_app.pipeline import Models, Progress, Summary, watch
from edge_app.settings import Settings
from edge_app.sinks import IsolatedSink
from edge_app.sinks.jsonl import JsonlSink, SharedJsonlSink
from edge_app.sinks.summary import SummarySink
from edge_app.sources import parse_source

_POLL_S = 0.1
_JOIN_S = 2.0


@dataclass(slots=True)
class FleetSummary:
    """What the cameras did together: sums, and the longest of seconds and media_seconds.

    cameras: the summary of each that was opened, with its name; failed: which cameras ended for good and which
    outputs are not complete, a line each; errors: those of the failed cameras; incomplete: those of the outputs.
    """

    facts: dict[str, Any]
    errors: list[EdgeAppError]
    incomplete: list[str]

    def to_dict(self) -> dict[str, Any]:
        return self.facts


class _Camera:
    """One of the cameras: its pipeline in a thread of its own, and how that ended."""

    def __init__(self, settings: Settings, models: Models, events: SharedJsonlSink | None, fleet: Fleet) -> None:
        self.name = settings.source.camera
        self.progress: Progress | None = None
        self.summary: Summary | None = None
        self.error: BaseException | None = None
        self._settings, self._models, self._events, self._fleet = settings, models, events, fleet
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)

    def start(self, stop: threading.Event) -> None:
        self._stop = stop
        self.thread.start()

    def _run(self) -> None:
        try:
            with Observer(self._settings, self._fleet) as observer:
                self.summary = watch(
                    self._settings,
                    observer,
                    self._stop,
                    self._tell,
                    models=self._models,
                    events=self._events,
                    on_lost=self._lost,
                )
            observer.raise_if_late()
        except StoppedEarly:
            pass  # nothing was seen, and nothing failed
        except BaseException as error:
            self.error = error

    def _lost(self, error: SourceError) -> None:
        self.error = error

    def _tell(self, progress: Progress) -> None:
        self.progress = progress


def run(
    settings: Settings,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_failure: Callable[[str, SourceError], None] | None = None,
    stop: threading.Event | None = None,
) -> FleetSummary:
    """Watch every camera of `settings.sources` to its end, or until `stop` is set. `max_frames` is for each of them.

    Args:
        on_progress: told of all together: sums, and the worst frame age.
        on_failure: told the name of a camera that has ended for good, and why.

    Raises:
        UsageError, ModelError, SinkError: before the first frame for whatever cannot be used.
        StoppedEarly: `stop` was set before a camera had opened.
        SourceError: no camera can be opened.
        WatchdogError: one camera is late; then all are ended, and everything judged so far has been written.
    """
    each = _settings_of_each(settings)
    check_outputs(settings)
    stop, ending = stop or threading.Event(), threading.Event()
    fleet = Fleet(one.source.camera for one in each)
    with FleetObserver(settings, fleet) as observer:
        models = Models(settings)
        output = settings.output
        totals = SummarySink(output.summary, output.permissions)
        events = IsolatedSink(JsonlSink(output.events, output.permissions)) if output.events else None
        shared = SharedJsonlSink(events.sink) if events and isinstance(events.sink, JsonlSink) else None
        cameras = [_Camera(one, models, shared, fleet) for one in each]
        try:
            for camera in cameras:
                camera.start(ending)
            _attend(cameras, fleet, observer, stop, ending, on_progress, on_failure)
        finally:
            ending.set()
            for camera in cameras:
                if camera.thread.is_alive():  # it hangs, or we leave by an error of our own
                    camera.thread.join(_JOIN_S)
            if events:
                events.close()
    faults = [camera.error for camera in cameras if camera.error and not isinstance(camera.error, SourceError)]
    if not any(camera.summary for camera in cameras):
        if faults:
            raise faults[0]
        if stop.is_set():
            raise StoppedEarly("stopped before a camera opened")
        raise SourceError(f"none of the {len(cameras)} cameras can be watched")
    incomplete = [events.last_error] if events and events.last_error else []
    summary = _summarize(settings, cameras, incomplete, stop.is_set())
    totals.extra = summary.to_dict()
    totals.close()
    if faults:
        raise faults[0]
    return summary


def _settings_of_each(settings: Settings) -> list[Settings]:
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


def video_path(path: Path, camera: str) -> Path:
    """`out.mp4` of the camera `door` is `out-door.mp4`; what does not belong into a file name becomes `_`."""
    name = re.sub(r"[^\w.-]", "_", camera)
    return path.with_stem(f"{path.stem}-{name}")


def _attend(
    cameras: Sequence[_Camera],
    fleet: Fleet,
    observer: FleetObserver,
    stop: threading.Event,
    ending: threading.Event,
    on_progress: Callable[[Progress], None] | None,
    on_failure: Callable[[str, SourceError], None] | None,
) -> None:
    """Wait until every camera has ended; tell on the way. A fault that is not a camera's own gives them GRACE_S."""
    running, deadline = list(cameras), float("inf")
    while running and time.monotonic() < deadline:
        running[0].thread.join(_POLL_S)
        for camera in [camera for camera in running if not camera.thread.is_alive()]:
            running.remove(camera)
            if isinstance(camera.error, SourceError):
                fleet.failed[camera.name] = str(camera.error)
                if on_failure:
                    on_failure(camera.name, camera.error)
            elif camera.error is not None:
                deadline = min(deadline, time.monotonic() + GRACE_S)
                observer.closing(str(camera.error))
                ending.set()
        if stop.is_set():
            observer.closing("closing the outputs")
            ending.set()
        if on_progress and (told := [camera.progress for camera in cameras if camera.progress]):
            on_progress(_together(told, [camera.progress for camera in running if camera.progress]))
    observer.closing("closing the outputs")


def _together(all_of_them: Sequence[Progress], running: Sequence[Progress]) -> Progress:
    totals = [progress.total for progress in all_of_them]
    return Progress(
        frames=sum(progress.frames for progress in all_of_them),
        total=None if None in totals else sum(total or 0 for total in totals),
        fps=sum(progress.fps for progress in running),
        persons=sum(progress.persons for progress in all_of_them),
        verdicts=_sum([progress.verdicts for progress in all_of_them]),
        frame_age_ms=max((progress.frame_age_ms for progress in running), default=0.0),
        dropped_frames=sum(progress.dropped_frames for progress in all_of_them),
    )


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return dict(total)


def _summarize(
    settings: Settings, cameras: Sequence[_Camera], incomplete: list[str], interrupted: bool
) -> FleetSummary:
    done = [(camera.name, camera.summary) for camera in cameras if camera.summary]
    errors = [(camera.name, camera.error) for camera in cameras if isinstance(camera.error, EdgeAppError)]
    incomplete = incomplete + [f"{name}: {line}" for name, summary in done for line in summary.failed]
    summaries = [summary for _, summary in done]
    seconds = max((summary.seconds for summary in summaries), default=0.0)
    frames = sum(summary.frames for summary in summaries)
    output = settings.output
    facts: dict[str, Any] = {
        "source": f"{len(cameras)} cameras",
        "frames": frames,
        "media_seconds": max((summary.media_seconds for summary in summaries), default=0.0),
        "faces": sum(summary.faces for summary in summaries),
        "seconds": seconds,
        "fps": round(frames / seconds, 2) if seconds > 0 else 0.0,
        "persons": sum(summary.persons for summary in summaries),
        "verdicts": _sum([summary.verdicts for summary in summaries]),
        "told": _sum([summary.told for summary in summaries]),
        "events": sum(summary.events for summary in summaries),
        "dropped_frames": sum(summary.dropped_frames for summary in summaries),
        "reconnects": sum(summary.reconnects for summary in summaries),
        "sink_errors": sum(summary.sink_errors for summary in summaries),
        "outputs": {
            "events": str(output.events) if output.events else None,
            "summary": str(output.summary) if output.summary else None,
        },
        "failed": [*(f"{name}: {error}" for name, error in errors), *incomplete],
        "interrupted": interrupted,
        "cameras": [{"camera": name, **asdict(summary)} for name, summary in done],
    }
    return FleetSummary(facts, [error for _, error in errors], incomplete)

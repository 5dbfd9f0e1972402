"""The life of a frame, top to bottom: read | detect | track, classify, vote, tell | draw and write.

The bars are thread boundaries with bounded hand-over in order. OpenCV and ONNX Runtime release the GIL, so plain
threads run side by side. A file gives the same results as one frame at a time would; a live source keeps only its
newest frame until the detector is free.
"""

import logging
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import supervision as sv

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings
from edge_app.errors import EdgeAppError, SourceError
from edge_app.monitor.status import Fleet
from edge_app.monitor.timings import timed
from edge_app.outputs.clashes import check_outputs
from edge_app.outputs.fan_out import Outputs
from edge_app.outputs.jsonl import SharedJsonlSink
from edge_app.people.memory import Followed, Strangers
from edge_app.people.recheck import Rechecks
from edge_app.records import Event, Frame, FrameResult
from edge_app.runtime.observer import CameraWatchdog, Observer, OnStuck
from edge_app.runtime.threads import CallWhenSet, prefetch
from edge_app.vision.analyzer import Analyzer

log = logging.getLogger(__name__)
SUMMARY_SCHEMA = 2


class SourceAnalyzer:
    """Judges one source frame by frame, with a memory of who is in view. `detect` keeps no state, `judge` does.

    Args:
        analyzer: one to share with other sources; None opens one.
        photos: the frames are pictures that have nothing to do with each other, see `people.Strangers`.

    Raises:
        UsageError, ModelError: as `Analyzer`.
    """

    def __init__(self, settings: Settings, analyzer: Analyzer | None = None, *, photos: bool = False) -> None:
        self._analyzer = analyzer or Analyzer(settings)
        high, low = self._analyzer.mask_threshold, self._analyzer.no_mask_threshold
        self._rechecks = Rechecks(settings.classifier.recheck_s, high, low)
        self._people = (Strangers if photos else Followed)(settings, high, low)

    def detect(self, frame: Frame) -> FrameResult:
        """Find the faces of one frame."""
        timings: dict[str, float] = {}
        with timed(timings, "detect"):
            detections = self._analyzer.detect(frame.image)
        return FrameResult(frame, detections, timings=timings)

    def judge(self, result: FrameResult) -> FrameResult:
        """Join the faces to persons, classify those that are due, vote, and tell what changed. Frames must come in
        order."""
        image, time = result.frame.image, result.frame.time
        with timed(result.timings, "track"):
            detections = result.detections = self._people.track(result.detections, time)
        with timed(result.timings, "classify"):
            due = self._rechecks.due(detections, time)
            fresh = sv.Detections(detections.xyxy[due])
            self._analyzer.classify(image, fresh)
            self._rechecks.complete(detections, due, fresh)
        with timed(result.timings, "decide"):
            result.verdicts = self._people.decide(detections, time)
            self._rechecks.remember(detections, due, result.verdicts, time)
            result.events = self._people.tell(result)
        return result

    def expire(self) -> list[Event]:
        """The `end` events of those who have left a live source by now, though no frame comes."""
        return self._people.expire()

    def close(self) -> list[Event]:
        """The `end` events of everyone still in view."""
        return self._people.close()


def results(
    analyzer: SourceAnalyzer,
    reader: FrameReader,
    max_frames: int | None = None,
    given_up: threading.Event | None = None,
    idle: Callable[[], object] | None = None,
) -> Generator[FrameResult, None, None]:
    """The result of each frame, in order, the stages side by side. given_up, idle: see `prefetch`."""
    depth = 0 if reader.info.live else 1  # waiting evens out a file's frames and makes a live one old
    detected = prefetch(analyzer.detect, islice(reader, max_frames), depth, given_up)
    yield from prefetch(analyzer.judge, detected, depth, given_up, idle)


@dataclass(slots=True)
class Progress:
    """Where a run stands. total: frames of a file, None for a live source. verdicts: persons so far by latest label;
    present: those of them in view now."""

    frames: int = 0
    total: int | None = None
    fps: float = 0.0
    persons: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    frame_age_ms: float = 0.0
    dropped_frames: int = 0


@dataclass(slots=True)
class Summary:
    """What the run of one camera did.

    media_seconds: by the source's own clock. verdicts: persons by the last label told of them. label_changes: how often
    each label was confirmed, as the first of a person or as a change. timings: stage -> median_ms and p95_ms. outputs:
    kind -> path or None. failed: why an output is not complete, a line each.
    """

    camera: str
    source: str
    frames: int
    media_seconds: float
    faces: int
    seconds: float
    fps: float
    persons: int
    verdicts: dict[str, int]
    label_changes: dict[str, int]
    events: int
    dropped_frames: int
    reconnects: int
    sink_errors: int
    timings: dict[str, dict[str, float]]
    outputs: dict[str, str | None]
    failed: list[str]
    interrupted: bool

    def of_camera(self) -> dict[str, Any]:
        """Its item in the list `cameras` of a summary: what is of the whole run is not repeated there."""
        facts = asdict(self)
        return facts | {"outputs": {"video": facts["outputs"]["video"]}}

    def to_dict(self) -> dict[str, Any]:
        """The summary of a run of this camera alone, in the shape that one of several has."""
        camera = self.of_camera()
        whole = {key: value for key, value in camera.items() if key not in ("camera", "timings")}
        files = {kind: self.outputs[kind] for kind in ("events", "summary")}
        return {"schema": SUMMARY_SCHEMA, **whole, "outputs": files, "cameras": [camera]}


def run(
    settings: Settings,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_stuck: OnStuck | None = None,
    stop: threading.Event | None = None,
    config: Path | None = None,
) -> Summary:
    """Watch a source to its end, or until `stop` is set; then frames already read are finished and files closed.

    Args:
        on_stuck: see `CameraWatchdog`.
        config: the settings file in use, see `clashes.check_outputs`.

    Raises:
        StoppedEarly: `stop` was set before a live source had opened.
        UsageError, ModelError, SourceError, SinkError: before the first frame for whatever cannot be used; later only
            SourceError or WatchdogError, once everything judged so far has been written.
    """
    check_outputs(settings, config)
    fleet = Fleet((settings.source.camera,))
    with Observer(settings, fleet) as observer, CameraWatchdog(settings, fleet, on_stuck, observer.closing) as watchdog:
        summary = run_observed(settings, watchdog, stop or threading.Event(), on_progress)
    watchdog.raise_if_late()
    return summary


def run_observed(
    settings: Settings,
    watchdog: CameraWatchdog,
    stop: threading.Event,
    on_progress: Callable[[Progress], None] | None = None,
    shared: Analyzer | None = None,
    events: SharedJsonlSink | None = None,
    on_refused: Callable[[SourceError], None] | None = None,
    on_error: Callable[[Exception], None] | None = None,
) -> Summary:
    """As `run`, under a watchdog of the caller's, with an analyzer and an events file that other runs may share.

    on_refused: see `FrameReader`. on_error: takes what ended the run after the source had opened, in place of its being
    raised.
    """
    spec, state = parse_source(settings.source.uri), Progress()
    photos = spec.kind == "images"
    analyzer = SourceAnalyzer(settings, shared, photos=photos)
    reader = FrameReader(spec, settings.source, on_refused=on_refused)
    failure: Exception | None = None
    max_fps = settings.source.max_fps
    with CallWhenSet(stop, reader.stop), reader, Outputs(settings.output, reader.info, events, max_fps) as outputs:
        state.total = _total(reader.info.frame_count, settings.max_frames)
        health = watchdog.opened(reader, outputs)

        def while_no_frame_comes() -> None:
            if reader.info.live and not health.in_work:
                outputs.write_events(analyzer.expire())

        try:
            for result in results(analyzer, reader, settings.max_frames, watchdog.given_up, while_no_frame_comes):
                with timed(result.timings, "output"):
                    outputs.write(result)
                state.frame_age_ms = health.finished(result)
                if outputs.closed_by_user:
                    break
                state.frames = outputs.tally.frames
                state.fps = health.fps
                state.verdicts = outputs.tally.verdicts
                state.persons = outputs.tally.persons
                state.present = outputs.tally.present
                state.dropped_frames = reader.stats()["dropped_frames"]
                if on_progress:
                    on_progress(state)
        except Exception as error:
            failure = error  # first everything that was judged is written
        finally:
            watchdog.closing()
            outputs.write_events(analyzer.close())
            seconds, stats = health.metrics.seconds, reader.stats()
    tally = outputs.tally
    summary = Summary(
        camera=settings.source.camera,
        source=spec.display,
        frames=tally.frames,
        media_seconds=tally.media_seconds,
        faces=tally.faces,
        seconds=round(seconds, 3),
        fps=round(tally.frames / seconds, 2) if seconds > 0 else 0.0,
        persons=tally.persons,
        verdicts=tally.verdicts,
        label_changes=tally.label_changes,
        events=tally.events,
        dropped_frames=stats["dropped_frames"],
        reconnects=stats["reconnects"],
        sink_errors=outputs.errors,
        timings=health.metrics.summary(),
        outputs=outputs.paths,
        failed=outputs.failed,
        interrupted=stop.is_set(),
    )
    if not (photos or failure or stop.is_set()):
        _warn_if_too_short(settings, spec.display, tally.frames)
    if failure and on_error is None:
        summary.failed.append(str(failure) if isinstance(failure, EdgeAppError) else repr(failure))
    summary.failed += outputs.write_summary(summary.to_dict())
    if failure:
        if on_error is None:
            raise failure
        on_error(failure)
    return summary


def _warn_if_too_short(settings: Settings, name: str, frames: int) -> None:
    needed = settings.tracker.min_hits + settings.verdict.min_votes - 1
    if 0 < frames < needed:
        why = f"tracker.min_hits = {settings.tracker.min_hits}, verdict.min_votes = {settings.verdict.min_votes}"
        log.warning("%s: too short for a verdict: %d frames, it takes %d (%s)", name, frames, needed, why)


def _total(frame_count: int | None, max_frames: int | None) -> int | None:
    if frame_count is None or max_frames is None:
        return frame_count
    return min(frame_count, max_frames)

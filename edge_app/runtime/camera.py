"""One camera of a run: its source, pipeline, outputs and watchdog, in a thread of its own."""

import logging
import threading
from collections.abc import Callable

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings
from edge_app.errors import SourceError, StoppedEarly
from edge_app.monitor.status import CameraStatus
from edge_app.monitor.timings import timed
from edge_app.outputs.event_outputs import EventOutputs
from edge_app.outputs.frame_outputs import FrameOutputs
from edge_app.runtime.observer import CameraWatchdog, OnStuck
from edge_app.runtime.pipeline import SourceAnalyzer, results
from edge_app.runtime.summary import CameraSummary, summarize_camera
from edge_app.runtime.threads import CallWhenSet
from edge_app.vision.analyzer import Analyzer

log = logging.getLogger(__name__)


class Camera:
    """Watches one source to its end, or until it is stopped; then frames already read are finished and files closed.

    in_turn: a file, which waits until the one before it is through. summary: once it has ended, where its source had
    opened. refused: why the source could not be opened yet. error: what has ended it.

    Args:
        settings: of this camera.
        status: its state, which is kept up to date.
        analyzer, events: shared with other cameras.
        alone: it is the only one: if its source does not open, `source.wait_s` counts, and messages need no name.
        on_frame: called after each frame, in this camera's thread.
        on_stuck: see `CameraWatchdog`.
    """

    def __init__(
        self,
        settings: Settings,
        status: CameraStatus,
        analyzer: Analyzer,
        events: EventOutputs,
        alone: bool,
        on_frame: Callable[[], None],
        on_stuck: OnStuck | None,
    ) -> None:
        self.name, self.wait_s = settings.source.camera, settings.source.wait_s
        self.status = status
        self.summary: CameraSummary | None = None
        self.refused: SourceError | None = None
        self.error: BaseException | None = None
        self._spec = parse_source(settings.source.uri)
        self.in_turn = self._spec.kind in ("file", "images")
        self._settings, self._analyzer, self._events = settings, analyzer, events
        self._alone, self._on_frame, self._on_stuck = alone, on_frame, on_stuck
        self._stop = threading.Event()
        self._given_up = False
        self.thread = threading.Thread(target=self._run, name=f"camera {self.name}", daemon=True)

    def start(self, stop: threading.Event) -> None:
        self._stop = stop
        self.status.expected = True
        self.thread.start()

    def give_up(self) -> None:
        """Nobody waits for this camera any more: that it has not opened is its failure."""
        self._given_up = True

    def _run(self) -> None:
        name = self._spec.display if self._alone else f"{self.name}: {self._spec.display}"
        try:
            with CameraWatchdog(self._settings.watchdog, self.status, name, self._on_stuck) as watchdog:
                self._watch(watchdog)
            watchdog.raise_if_late()
        except StoppedEarly as error:
            self.error = self.refused if self._given_up else error
        except BaseException as error:
            self.error = error
        if self.in_turn or (self.error is None and not self._stop.is_set()):  # it has ended, as files do
            self.status.expected = False

    def _watch(self, watchdog: CameraWatchdog) -> None:
        settings, status, photos = self._settings, self.status, self._spec.kind == "images"
        analyzer = SourceAnalyzer(settings, self._analyzer, photos=photos)
        reader = FrameReader(self._spec, settings.source, on_refused=None if self._alone else self._refuse)
        with (
            CallWhenSet(self._stop, reader.stop),
            reader,
            FrameOutputs(settings, reader.info, needed=self._alone) as outputs,
        ):
            status.opened(reader, outputs, _total(reader.info.frame_count, settings.max_frames))
            watchdog.opened()

            def while_no_frame_comes() -> None:
                if reader.info.live and not status.in_work:
                    ended = analyzer.expire()
                    self._events.write(ended)
                    status.tally.count(ended)

            try:
                for result in results(analyzer, reader, settings.max_frames, watchdog.given_up, while_no_frame_comes):
                    with timed(result.timings, "output"):
                        self._events.write(result.events)
                        outputs.write(result)
                    status.finished(result)
                    if outputs.closed_by_user:
                        break
                    self._on_frame()
            except Exception as error:
                self.error = error  # first everything that was judged is written
            finally:
                watchdog.closing()
                status.ending()
                ended = analyzer.close()
                self._events.write(ended)
                status.tally.count(ended)
        self.summary = summarize_camera(status, self._spec.display, self._stop.is_set())
        if not (photos or self.error or self._stop.is_set()):
            self._warn_if_too_short(status.frames)

    def _refuse(self, error: SourceError) -> None:
        self.refused = error
        self.status.refused = str(error)

    def _warn_if_too_short(self, frames: int) -> None:
        min_hits, min_votes = self._settings.tracker.min_hits, self._settings.verdict.min_votes
        needed = min_hits + min_votes - 1
        if 0 < frames < needed:
            why = f"tracker.min_hits = {min_hits}, verdict.min_votes = {min_votes}"
            log.warning(
                "%s: too short for a verdict: %d frames, it takes %d (%s)", self._spec.display, frames, needed, why
            )


def _total(frame_count: int | None, max_frames: int | None) -> int | None:
    if frame_count is None or max_frames is None:
        return frame_count
    return min(frame_count, max_frames)

"""The life of a frame from its capture to its events: read | detect | track, classify, vote, tell.

The bars are thread boundaries with bounded hand-over in order. OpenCV and ONNX Runtime release the GIL, so plain
threads run side by side. A file gives the same results as one frame at a time would; a live source keeps only its
newest frame until the detector is free.
"""

import threading
from collections.abc import Callable, Generator
from itertools import islice

import supervision as sv

from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings
from edge_app.monitor.timings import timed
from edge_app.people.memory import TrackedPeople, UnrelatedFaces
from edge_app.people.recheck import Rechecks
from edge_app.records import Event, Frame, FrameResult
from edge_app.runtime.threads import prefetch
from edge_app.vision.analyzer import Analyzer


class SourceAnalyzer:
    """Judges one source frame by frame, with a memory of who is in view. `detect` keeps no state, `judge` does.

    Args:
        analyzer: one to share with other sources; None opens one.
        photos: the frames are pictures that have nothing to do with each other, see `people.UnrelatedFaces`.

    Raises:
        UsageError, ModelError: as `Analyzer`.
    """

    def __init__(self, settings: Settings, analyzer: Analyzer | None = None, *, photos: bool = False) -> None:
        self._analyzer = analyzer or Analyzer(settings)
        high, low = self._analyzer.mask_threshold, self._analyzer.no_mask_threshold
        self._rechecks = Rechecks(settings.classifier.recheck_s, high, low)
        self._people = (UnrelatedFaces if photos else TrackedPeople)(settings, high, low)

    def detect(self, frame: Frame) -> FrameResult:
        """Find the faces of one frame."""
        timings: dict[str, float] = {}
        with timed(timings, "detect"):
            detections = self._analyzer.detect(frame.picture)
        return FrameResult(frame, detections, timings=timings)

    def judge(self, result: FrameResult) -> FrameResult:
        """Join the faces to persons, classify those that are due, vote, and tell what changed. Frames must come in
        order."""
        picture, time = result.frame.picture, result.frame.time
        with timed(result.timings, "track"):
            detections = result.detections = self._people.track(result.detections, time)
        with timed(result.timings, "classify"):
            due = self._rechecks.due(detections, time)
            fresh = sv.Detections(detections.xyxy[due])
            self._analyzer.classify(picture, fresh)
            self._rechecks.complete(detections, due, fresh)
        with timed(result.timings, "decide"):
            result.verdicts = self._people.decide(detections, time)
            self._rechecks.remember(detections, due, result.verdicts, time)
            result.events = self._people.events(result)
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

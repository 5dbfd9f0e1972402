"""Faces in; persons, verdicts and events out: `TrackedPeople` of a video or camera, `UnrelatedFaces` of photos."""

import time
from typing import Protocol

import supervision as sv

from edge_app.config.settings import Settings
from edge_app.people.lifecycle import Lifecycle
from edge_app.people.tracker import FaceTracker, NewFaces
from edge_app.people.verdicts import FaceBoard, VerdictBoard
from edge_app.people.windows import Windows
from edge_app.records import Event, FrameResult, Verdict


class People(Protocol):
    """The persons of one source. The first three are called for each frame in turn, the others from any thread."""

    def track(self, detections: sv.Detections, seconds: float) -> sv.Detections:
        """All detections, maybe in another order, with their `tracker_id`. seconds: the frame's time."""
        ...

    def decide(self, detections: sv.Detections, seconds: float) -> list[Verdict]:
        """A verdict for each of the tracked and classified detections."""
        ...

    def events(self, result: FrameResult) -> list[Event]:
        """The events of a frame whose detections and verdicts are complete."""
        ...

    def expire(self) -> list[Event]:
        """The `end` events of those who have left a live source by now, although no frame has come."""
        ...

    def close(self) -> list[Event]:
        """The `end` events of everyone still in view."""
        ...


class TrackedPeople:
    """Persons of a video: tracked over frames, classified by a vote over time, windows adapted to the frame rate.

    Args:
        mask_threshold, no_mask_threshold: bounds of the unsure band on the mask probability.
    """

    def __init__(self, settings: Settings, mask_threshold: float, no_mask_threshold: float) -> None:
        self._windows = Windows(settings.tracker, settings.verdict, settings.source.camera)
        self._tracker = FaceTracker(settings.tracker)
        self._board = VerdictBoard(settings.verdict, mask_threshold, no_mask_threshold, settings.tracker.lost_s)
        self._lifecycle = Lifecycle(settings.source.camera, settings.tracker.lost_s)

    def track(self, detections: sv.Detections, seconds: float) -> sv.Detections:
        before = self._windows.lost_s
        self._windows.update(seconds)
        self._board.window_s, self._lifecycle.unsure_after_s = self._windows.window_s, self._windows.unsure_after_s
        self._board.forget_s = self._lifecycle.lost_s = self._windows.lost_s
        if self._windows.lost_s != before:
            self._tracker.keep_for(self._windows.lost_s)
        return self._tracker.update(detections, seconds)

    def decide(self, detections: sv.Detections, seconds: float) -> list[Verdict]:
        return self._board.update(detections, seconds)

    def events(self, result: FrameResult) -> list[Event]:
        return self._lifecycle.update(result)

    def expire(self) -> list[Event]:
        return self._lifecycle.expire(time.monotonic(), time.time())

    def close(self) -> list[Event]:
        return self._lifecycle.close()


class UnrelatedFaces:
    """Faces of unrelated pictures: each is a person, gets its verdict at once, and ends with its picture.

    Args:
        mask_threshold, no_mask_threshold: bounds of the unsure band on the mask probability.
    """

    def __init__(self, settings: Settings, mask_threshold: float, no_mask_threshold: float) -> None:
        self._tracker = NewFaces()
        self._board = FaceBoard(mask_threshold, no_mask_threshold)
        self._lifecycle = Lifecycle(settings.source.camera, settings.tracker.lost_s, unsure_after_s=0.0)

    def track(self, detections: sv.Detections, seconds: float) -> sv.Detections:
        return self._tracker.update(detections)

    def decide(self, detections: sv.Detections, seconds: float) -> list[Verdict]:
        return self._board.update(detections)

    def events(self, result: FrameResult) -> list[Event]:
        return self._lifecycle.update(result) + self._lifecycle.close()

    def expire(self) -> list[Event]:
        return []

    def close(self) -> list[Event]:
        return []

"""Faces in, persons out: the same detections with a `tracker_id`; -1 until a person has been seen often enough."""

import math

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

from edge_app.config.settings import TrackerSettings

_REFERENCE_FPS = 30.0  # the rate in which ByteTrack counts its memory; times are given, so the source's own is free


class FaceTracker:
    """ByteTrack ('ByteTrack: Multi-Object Tracking by Associating Every Detection Box', 2110.06864) over time stamps.

    Every detection has passed the detector's threshold already, so all may start a track and all are matched first.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(1, round(settings.lost_s * _REFERENCE_FPS)),
            frame_rate=_REFERENCE_FPS,
            track_activation_threshold=0.0,
            high_conf_det_threshold=0.0,
            minimum_consecutive_frames=settings.min_hits,
            minimum_iou_threshold=settings.iou_threshold,
        )
        self._last = -math.inf

    def keep_for(self, lost_s: float) -> None:
        """From now on a person unseen for longer than this, in seconds, has left."""
        self._tracker.maximum_time_without_update = lost_s

    def update(self, detections: sv.Detections, time: float) -> sv.Detections:
        """Add one frame. `time`: seconds, must not go back. Gives all detections, maybe in another order."""
        # Two frames of one time stamp (a file with broken times) still are two frames, however large the stamp.
        self._last = max(time, self._last + 1e-3, math.nextafter(self._last, math.inf))
        tracked: sv.Detections = self._tracker.update(detections, timestamp=self._last)
        if len(tracked) == 0:  # ByteTrack's own empty result has no columns
            detections.tracker_id = np.zeros(0, int)
            return detections
        return tracked


class NewFaces:
    """As `FaceTracker`, where no picture has to do with the one before it: every face is a person of its own."""

    def __init__(self) -> None:
        self._next = 0

    def update(self, detections: sv.Detections) -> sv.Detections:
        """Add one picture. Gives its detections in their order."""
        first, self._next = self._next, self._next + len(detections)
        detections.tracker_id = np.arange(first, self._next)
        return detections

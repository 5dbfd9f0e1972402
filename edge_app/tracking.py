"""Faces in, persons out: the same detections with a `tracker_id`; -1 until a person has been seen often enough."""

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

from edge_app.settings import TrackerSettings

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
        self._last = -np.inf

    def update(self, detections: sv.Detections, time: float) -> sv.Detections:
        """Add one frame. `time`: seconds, must not go back. Gives all detections, maybe in another order."""
        # Two frames of one time stamp (a file with broken times) still are two frames.
        self._last = max(time, self._last + 1e-3)
        tracked: sv.Detections = self._tracker.update(detections, timestamp=self._last)
        if len(tracked) == 0:  # ByteTrack's own empty result has no columns
            detections.tracker_id = np.zeros(0, int)
            return detections
        return tracked

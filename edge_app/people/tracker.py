"""Multi-object tracking of faces: takes detections, gives them a `tracker_id`; -1 until their track is confirmed."""

import math

import numpy as np
import supervision as sv
from trackers import ByteTrackTracker

from edge_app.config.settings import TrackerSettings

_REFERENCE_FPS = 30.0  # ByteTrack counts its buffer in frames of this rate; with time stamps the source may have any


class FaceTracker:
    """ByteTrack ('ByteTrack: Multi-Object Tracking by Associating Every Detection Box', 2110.06864) over time stamps.

    Every detection has passed the detector's threshold already, so all may start a track and take part in the first
    association; there is no second one for low scores.
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
        """Set how long a lost track is kept, in seconds."""
        self._tracker.maximum_time_without_update = lost_s

    def update(self, detections: sv.Detections, time: float) -> sv.Detections:
        """Add one frame. `time`: seconds, must not go back. Gives all detections, maybe in another order."""
        # Equal time stamps (a file with broken ones) must still increase, however large they are.
        self._last = max(time, self._last + 1e-3, math.nextafter(self._last, math.inf))
        tracked: sv.Detections = self._tracker.update(detections, timestamp=self._last)
        if len(tracked) == 0:  # ByteTrack's empty result lacks our columns
            detections.tracker_id = np.zeros(0, int)
            return detections
        return tracked


class NewFaces:
    """As `FaceTracker` for unrelated pictures: every face gets a new id."""

    def __init__(self) -> None:
        self._next = 0

    def update(self, detections: sv.Detections) -> sv.Detections:
        """Add one picture. Gives its detections in their order."""
        first, self._next = self._next, self._next + len(detections)
        detections.tracker_id = np.arange(first, self._next)
        return detections

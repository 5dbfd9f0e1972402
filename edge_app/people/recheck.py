"""Which rows of a frame are due for classification: all until a person's verdict is confirmed, then at intervals.

Consecutive frames show nearly the same face, so classifying all of them is mostly redundant. In between, a person's
last result is cached and votes again; the first result that disagrees with the verdict makes them due in every frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.records import Verdict, tracker_ids
from edge_app.vision.classifier import class_ids, face_label


class _Result(NamedTuple):
    time: float  # seconds; of the frame that was classified
    mask_probability: float
    quality: float


class Rechecks:
    """The last classification of every person in view whose verdict is confirmed.

    Args:
        recheck_s: seconds after which such a person is classified again; 0: in every frame.
        mask_threshold, no_mask_threshold: bounds of the unsure band on the mask probability.
    """

    def __init__(self, recheck_s: float, mask_threshold: float, no_mask_threshold: float) -> None:
        self._recheck_s = recheck_s
        self._high, self._low = mask_threshold, no_mask_threshold
        self._cache: dict[int, _Result] = {}

    def due(self, detections: sv.Detections, time: float) -> npt.NDArray[np.bool_]:
        """bool (n,): the rows of a frame that are due for classification. `time` is the frame's, in seconds."""
        return np.array([not self._known(tracker_id, time) for tracker_id in tracker_ids(detections)], bool)

    def _known(self, tracker_id: int, time: float) -> bool:
        last = self._cache.get(tracker_id)
        return last is not None and time - last.time < self._recheck_s

    def complete(self, detections: sv.Detections, due: npt.NDArray[np.bool_], fresh: sv.Detections) -> None:
        """Write `mask_probability`, `quality` and `class_id` of a whole frame: those of `fresh` for the rows that were
        due, the cached ones for the others."""
        probability, quality = np.zeros(len(detections), np.float32), np.zeros(len(detections), np.float32)
        probability[due], quality[due] = fresh.data["mask_probability"], fresh.data["quality"]
        ids = tracker_ids(detections)
        for row in np.flatnonzero(~due):
            last = self._cache[ids[row]]
            probability[row], quality[row] = last.mask_probability, last.quality
        detections.data |= {"mask_probability": probability, "quality": quality}
        detections.class_id = class_ids(probability)

    def remember(
        self, detections: sv.Detections, due: npt.NDArray[np.bool_], verdicts: Sequence[Verdict], time: float
    ) -> None:
        """Cache the results that agree with the person's verdict; drop persons who are not in this frame."""
        before, self._cache = self._cache, {}
        data = detections.data
        columns = (tracker_ids(detections), due, data["mask_probability"], data["quality"], verdicts)
        for tracker_id, was_due, probability, quality, verdict in zip(*columns, strict=True):
            label = face_label(probability, self._high, self._low, quality)
            if tracker_id >= 0 and label == verdict.label != "unsure":
                when = time if was_due else before[tracker_id].time
                self._cache[tracker_id] = _Result(when, float(probability), float(quality))

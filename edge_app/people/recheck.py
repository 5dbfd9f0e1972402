"""Whose face is classified in a frame: everyone's until their verdict stands, then each person's now and then.

Consecutive frames show nearly the same face, so that most of the classifier's work would say again what is known. In
between a person keeps what was last found of them, and votes with it; the first frame that says otherwise brings their
face back into every frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.records import Verdict, tracker_ids
from edge_app.vision.classifier import class_ids, face_label


class _Found(NamedTuple):
    time: float  # seconds; of the frame that was classified
    mask_probability: float
    quality: float


class Rechecks:
    """What was last found of every person in view whose verdict stands.

    Args:
        recheck_s: seconds after which such a person is classified again; 0: in every frame.
        mask_threshold, no_mask_threshold: bounds of the unsure band on the mask probability.
    """

    def __init__(self, recheck_s: float, mask_threshold: float, no_mask_threshold: float) -> None:
        self._recheck_s = recheck_s
        self._high, self._low = mask_threshold, no_mask_threshold
        self._found: dict[int, _Found] = {}

    def due(self, detections: sv.Detections, time: float) -> npt.NDArray[np.bool_]:
        """bool (n,): the rows of a frame that want classifying. `time` is the frame's, in seconds."""
        return np.array([not self._known(tracker_id, time) for tracker_id in tracker_ids(detections)], bool)

    def _known(self, tracker_id: int, time: float) -> bool:
        found = self._found.get(tracker_id)
        return found is not None and time - found.time < self._recheck_s

    def complete(self, detections: sv.Detections, due: npt.NDArray[np.bool_], fresh: sv.Detections) -> None:
        """Write `mask_probability`, `quality` and `class_id` of a whole frame: of `fresh`, the rows that were due, and
        for the others what was found last."""
        probability, quality = np.zeros(len(detections), np.float32), np.zeros(len(detections), np.float32)
        probability[due], quality[due] = fresh.data["mask_probability"], fresh.data["quality"]
        ids = tracker_ids(detections)
        for row in np.flatnonzero(~due):
            found = self._found[ids[row]]
            probability[row], quality[row] = found.mask_probability, found.quality
        detections.data |= {"mask_probability": probability, "quality": quality}
        detections.class_id = class_ids(probability)

    def remember(
        self, detections: sv.Detections, due: npt.NDArray[np.bool_], verdicts: Sequence[Verdict], time: float
    ) -> None:
        """Keep what was found of those whose verdict it agrees with, and forget who is not in this frame."""
        before, self._found = self._found, {}
        data = detections.data
        columns = (tracker_ids(detections), due, data["mask_probability"], data["quality"], verdicts)
        for tracker_id, was_due, probability, quality, verdict in zip(*columns, strict=True):
            label = face_label(probability, self._high, self._low, quality)
            if tracker_id >= 0 and label == verdict.label != "unsure":
                when = time if was_due else before[tracker_id].time
                self._found[tracker_id] = _Found(when, float(probability), float(quality))

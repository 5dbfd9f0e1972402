"""One person's mask probabilities over time become one verdict: mask, no_mask or unsure.

Takes the tracked detections of a frame with their mask probabilities, gives one `Verdict` a row. The verdict
thresholds a weighted mean over a sliding window: votes are weighted by detector score times face quality, where the
detections have it, and the window is in seconds (not frames: a live source drops frames, so a count would depend on the
speed). A weight of zero is no vote. Hysteresis keeps a verdict until the mean has clearly crossed back.
"""

import math
from collections import deque

import numpy as np
import supervision as sv

from edge_app.config.settings import VerdictSettings
from edge_app.records import Label, Verdict, tracker_ids
from edge_app.vision.classifier import face_label


class _Voter:
    __slots__ = ("label", "last_seen", "votes")

    def __init__(self) -> None:
        self.votes: deque[tuple[float, float, float]] = deque()  # (time s, mask probability, weight)
        self.label: Label = "unsure"
        self.last_seen = 0.0


class VerdictBoard:
    """The sliding windows of votes of all persons in view.

    window_s: seconds after which a vote expires; forget_s: seconds after which an unseen person's votes are dropped.

    Args:
        settings: window, minimum of votes and hysteresis.
        mask_threshold, no_mask_threshold: bounds of the unsure band on the mean mask probability.
        forget_s: see above.
    """

    def __init__(
        self, settings: VerdictSettings, mask_threshold: float, no_mask_threshold: float, forget_s: float
    ) -> None:
        self._settings = settings
        self._high, self._low = mask_threshold, no_mask_threshold
        self.window_s, self.forget_s = settings.window_s, forget_s
        self._voters: dict[int, _Voter] = {}

    def update(self, detections: sv.Detections, time: float) -> list[Verdict]:
        """Add one frame's votes; a verdict for each row. `time` is the frame's, in seconds."""
        probabilities = np.asarray(detections.data.get("mask_probability", np.zeros(len(detections))))
        scores = detections.confidence if detections.confidence is not None else np.ones(len(detections))
        weights = np.asarray(scores) * detections.data.get("quality", 1.0)
        verdicts = [
            self._vote(tracker_id, time, float(probability), float(weight))
            for tracker_id, probability, weight in zip(tracker_ids(detections), probabilities, weights, strict=True)
        ]
        for tracker_id in [i for i, v in self._voters.items() if time - v.last_seen > self.forget_s]:
            del self._voters[tracker_id]
        return verdicts

    def _vote(self, tracker_id: int, time: float, probability: float, weight: float) -> Verdict:
        if tracker_id < 0:  # not a confirmed track: no state is kept
            return Verdict("unsure", probability, max(probability, 1 - probability), 1)
        voter = self._voters.setdefault(tracker_id, _Voter())
        voter.last_seen = time
        if weight > 0 and math.isfinite(probability):
            voter.votes.append((time, probability, weight))
        while voter.votes and time - voter.votes[0][0] > self.window_s:
            voter.votes.popleft()
        total = sum(w for _, _, w in voter.votes)
        mean = sum(p * w for _, p, w in voter.votes) / total if total > 0 else probability
        voter.label = self._decide(voter.label, mean, len(voter.votes)) if voter.votes else "unsure"
        confidence = {"mask": mean, "no_mask": 1 - mean, "unsure": max(mean, 1 - mean)}[voter.label]
        return Verdict(voter.label, mean, confidence, len(voter.votes))

    def _decide(self, label: Label, mean: float, votes: int) -> Label:
        margin = self._settings.hysteresis
        if label == "mask" and mean >= self._high - margin:
            return label
        if label == "no_mask" and mean <= self._low + margin:
            return label
        if votes < self._settings.min_votes:
            return "unsure"
        return face_label(mean, self._high, self._low)


class FaceBoard:
    """As `VerdictBoard` for unrelated faces, as in photos: the verdict of a single classification.

    Args:
        mask_threshold, no_mask_threshold: bounds of the unsure band on the mask probability.
    """

    def __init__(self, mask_threshold: float, no_mask_threshold: float) -> None:
        self._high, self._low = mask_threshold, no_mask_threshold

    def update(self, detections: sv.Detections) -> list[Verdict]:
        """A verdict for each row; a face with quality 0 is unsure."""
        rows = zip(detections.data["mask_probability"], detections.data["quality"], strict=True)
        return [self._decide(float(probability), float(quality)) for probability, quality in rows]

    def _decide(self, probability: float, quality: float) -> Verdict:
        label = face_label(probability, self._high, self._low, quality)
        sides = {"mask": probability, "no_mask": 1 - probability}
        return Verdict(label, probability, sides.get(label, max(probability, 1 - probability)), 1)

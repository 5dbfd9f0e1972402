"""The hyperparameters of the detector's training, each with its why."""

from dataclasses import dataclass, replace
from typing import Self

from export.common import hyperparameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters(hyperparameters.Hyperparameters):
    """All shares are 0..1."""

    batch: int = 32  # windows of 320 px; of larger ones as many as have the same area
    # A batch-normalised net this small takes so high a rate; no other was tried. The averaged weights are those of
    # about the last 1,400 steps.
    rate: float = 3e-3
    weight_decay: float = 0.03
    warmup: float = 0.02
    ema_decay: float = 0.9993
    gradient_clip: float = 10.0
    restart: float = 0.25

    # Which windows. Share of those of 320 px, and of larger ones, that are whole pictures labelled by hand, as the
    # runtime shows them ('Fixing the train-test resolution discrepancy', 1906.06423): parts show faces larger, and less
    # around them.
    whole_pictures: float = 0.5
    whole_pictures_large: float = 0.4
    mosaics: float = 0.35  # share of the others that are mosaics
    # The last share of a run sees no mosaics, only pictures as cameras give them, as in 'YOLOX' (2107.08430).
    no_mosaics: float = 0.25
    hard_examples: float = 0.15  # share of the rest that show a place where an earlier net erred

    # Augmentation. Share of all but whole pictures into which up to three false positives of an earlier net are pasted,
    # and up to three faces: masked, badly masked, bare and doubtful ones as often.
    pasted_negatives: float = 0.3
    pasted_faces: float = 0.25
    synthetic_masks: float = 0.3  # share of the bare faces that get a mask
    masks_under_nose: float = 0.35  # share of those masks that hang under the nose
    backs_of_heads: float = 0.5  # share of the bare faces that become the back of a head
    stretch: float = 0.06  # standard deviation of the log by which pictures get wider, and as much lower
    mixup: float = 0.5  # of a mixture for teachers, at most this share is the second picture

    # Loss: weights of its parts beside those of the scores.
    box_weight: float = 4.0
    landmark_weight: float = 4.0
    rank_weight: float = 6.0
    doubt_weight: float = 8.0
    distillation_weight: float = 4.0
    # The false positives that set a threshold are masked faces more than anything else: those that no label marks, of
    # which there are many wherever masks are worn. So that as many bare faces as masked ones are found, those known to
    # show nose or mouth count for more, which lowers what is doubtful among the others, and all others have to score
    # less by some log-odds to cost the same ('Long-tail learning via logit adjustment', 2007.07314). Teachers score
    # both alike, so their scores of the others are lowered too.
    uncovered_weight: float = 3.0
    covered_margin: float = 0.9
    teacher_margin: float = 0.5
    rank_width: float = 0.5  # log-odds over which a pair's order turns
    rank_negatives: int = 1  # negatives a picture that faces rank against; several may be of one doubtful face

    def scaled_to(self, batch: int) -> Self:
        """The same for another batch: the rate grows with the square root ('On the SDEs and Scaling Rules for Adaptive
        Gradient Algorithms', 2205.10287)."""
        return replace(self, batch=batch, rate=self.rate * (batch / self.batch) ** 0.5)


DEFAULTS = Hyperparameters()

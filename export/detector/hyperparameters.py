"""The hyperparameters of the detector's training, each with its reason."""

from dataclasses import dataclass, replace
from typing import Self

from export.common import hyperparameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters(hyperparameters.Hyperparameters):
    """All shares are 0..1."""

    batch: int = 32  # windows of 320 px; of larger ones as many as have the same area
    # A batch-normalised net this small tolerates so high a rate; no other was tried. The moving average spans about the
    # last 1,400 steps.
    rate: float = 3e-3
    weight_decay: float = 0.03
    warmup: float = 0.02
    ema_decay: float = 0.9993
    gradient_clip: float = 10.0
    restart: float = 0.25

    # Sampling. Share of the windows of 320 px, and of larger ones, that are whole pictures labelled by hand, at the
    # runtime's scale: crops have larger faces and less context ('Fixing the train-test resolution discrepancy',
    # 1906.06423).
    whole_pictures: float = 0.5
    whole_pictures_large: float = 0.4
    mosaics: float = 0.35  # share of the others that are mosaics
    # Mosaic is off for this last share of a run, as in 'YOLOX' (2107.08430).
    no_mosaics: float = 0.25
    hard_examples: float = 0.15  # share of the rest that contain an error of an earlier net

    # Augmentation. Copy-paste: share of all but whole pictures that get up to three hard negatives, and up to three
    # faces, with masked, incorrectly masked, bare and doubtful ones balanced.
    pasted_negatives: float = 0.3
    pasted_faces: float = 0.25
    synthetic_masks: float = 0.3  # share of the bare faces that get a synthetic mask
    masks_under_nose: float = 0.35  # share of those masks that are drawn under the nose
    backs_of_heads: float = 0.5  # share of the bare faces that become the back of a head
    stretch: float = 0.06  # standard deviation of the log aspect ratio jitter
    mixup: float = 0.5  # maximum mixing weight of the second image, for distillation

    # Loss: weights of its terms relative to those of cls and obj.
    box_weight: float = 4.0
    landmark_weight: float = 4.0
    rank_weight: float = 6.0
    doubt_weight: float = 8.0
    distillation_weight: float = 4.0
    # Most false positives at the threshold are unlabelled masked faces. For equal recall of bare and masked faces,
    # uncovered ones get a higher weight, and all others a logit margin: they reach the same loss at lower log-odds
    # ('Long-tail learning via logit adjustment', 2007.07314). Teachers score both alike, so their logits of the others
    # are lowered too.
    uncovered_weight: float = 3.0
    covered_margin: float = 0.9
    teacher_margin: float = 0.5
    rank_width: float = 0.5  # log-odds; temperature of the sigmoid of a pair's difference
    rank_negatives: int = 1  # hardest negatives a picture in the loss; several may be of one doubtful face

    def scaled_to(self, batch: int) -> Self:
        """The same for another batch size, by the square root scaling rule of the rate ('On the SDEs and Scaling Rules
        for Adaptive Gradient Algorithms', 2205.10287)."""
        return replace(self, batch=batch, rate=self.rate * (batch / self.batch) ** 0.5)


DEFAULTS = Hyperparameters()

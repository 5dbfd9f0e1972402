"""The hyperparameters of the classifier's training and of its teacher's, each with its why."""

from dataclasses import dataclass

from export.common import hyperparameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters(hyperparameters.Hyperparameters):
    """All shares are 0..1."""

    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    ema_decay: float = 0.999
    gradient_clip: float = 5.0

    # Of web photos not all labels are true; it also keeps the logits where a temperature can calibrate them.
    label_smoothing: float = 0.02
    # Share of a target that the teachers' probabilities are: they see through wrong labels, and at times err too.
    distillation: float = 0.7

    # Shares of a batch, before masks are drawn on some bare faces.
    mask: float = 0.46
    no_mask: float = 0.42
    incorrect_mask: float = 0.12

    # Augmentation.
    synthetic_masks: float = 0.14  # share of bare faces that get a mask: colours and patterns that no photo shows
    chin_masks: float = 0.10  # ... and one below the nose or the chin: as much cloth, and yet not worn
    objects: float = 0.22  # share of all faces with a hand, phone, microphone, scarf or sunglasses; the class stays


DEFAULTS = Hyperparameters()
TEACHER = Hyperparameters(rate=5e-4, weight_decay=0.02, warmup=0.05, ema_decay=0.998)

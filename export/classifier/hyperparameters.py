"""The hyperparameters of the classifier's training and of its teacher's, each with its reason."""

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

    # Label smoothing ('Rethinking the Inception Architecture', 1512.00567): web photos have noisy labels; it also keeps
    # the logits small enough to be calibrated by a temperature.
    label_smoothing: float = 0.02
    # Weight of the teachers' probabilities in the target: they correct wrong labels, and err at times.
    distillation: float = 0.7

    # Shares of a batch, before masks are drawn on some bare faces.
    mask: float = 0.46
    no_mask: float = 0.42
    incorrect_mask: float = 0.12

    # Augmentation.
    synthetic_masks: float = (
        0.14  # share of bare faces that get a synthetic mask: other colours and patterns than in photos
    )
    chin_masks: float = 0.10  # ... or one below the nose or the chin, a hard negative
    objects: float = 0.22  # share of all faces with a hand, phone, microphone, scarf or sunglasses; the class stays


DEFAULTS = Hyperparameters()
TEACHER = Hyperparameters(rate=5e-4, weight_decay=0.02, warmup=0.05, ema_decay=0.998)

"""The hyperparameters of a training, in one object that its checkpoints keep."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """Those common to every training; each model has a subclass.

    batch: batch size. rate: peak learning rate. weight_decay: of the kernels, see `Muon`. warmup: share of the
    schedule. ema_decay: of the exponential moving average of the weights. gradient_clip: maximum gradient norm.
    restart: peak of a warm restart on a trained net, as a share of `rate` ('SGDR', 1608.03983).
    """

    batch: int
    rate: float
    weight_decay: float
    warmup: float
    ema_decay: float
    gradient_clip: float
    restart: float = 0.35

    @classmethod
    def recorded(cls, state: Mapping[str, Any] | None) -> Self | None:
        """Those in a checkpoint's state; None: an older checkpoint without them, or with other ones."""
        given = (state or {}).get(KEY)
        return cls(**given) if given and given.keys() == {field.name for field in fields(cls)} else None

    def record(self) -> dict[str, Any]:
        """As a checkpoint keeps them: plain numbers by name."""
        return asdict(self)


KEY = "hyperparameters"  # in the state of a checkpoint

"""What a training sets before its first step, in one object that its checkpoints keep."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """Those of every training; each model's own are a subclass.

    batch: samples a step. rate: peak of the learning rate. weight_decay: of the kernels, see `Muon`. warmup: share of
    the schedule. ema_decay: of the averaged weights, the share that a step leaves. gradient_clip: longest gradient.
    restart: share of the peak that a schedule has which begins again on a trained net, as in 'SGDR' (1608.03983).
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
        """Those in a checkpoint's state; None: it is older than they are, or holds others."""
        given = (state or {}).get(KEY)
        return cls(**given) if given and given.keys() == {field.name for field in fields(cls)} else None

    def record(self) -> dict[str, Any]:
        """As a checkpoint keeps them: plain numbers by name."""
        return asdict(self)


KEY = "hyperparameters"  # in the state of a checkpoint

"""What the manifests of both models say of their training."""

from collections.abc import Mapping
from typing import Any

from export.common.from_onnx import RELEASED
from export.common.hyperparameters import KEY

CAUTION = "Web images of mixed or no licence, used for training and evaluation only; none is in this project."


def command_line(
    train: str, start: str, teacher: str, state: Mapping[str, Any], usual: Mapping[str, Any] | None = None
) -> str:
    """What trains such a model; start: its released file, to begin at or learn from; teacher: another to learn from."""
    return " ".join(
        [
            f"python -m export {train} --minutes {state.get('spent', 0) / 60:.0f} --seed {state.get('seed', 0)}",
            *(f"--{name} {state[name]}" for name, value in (usual or {}).items() if state.get(name, value) != value),
            *(["--mix"] if state.get("mix") else []),
            *([f"--start {start}"] if state.get("start") else []),
            *(f"--teacher {start if RELEASED in origin else teacher}" for origin in state.get("teachers", [])),
        ]
    )


def recorded(state: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters that a run wrote into its checkpoint, as a manifest's `training` tells them."""
    return {KEY: state.get(KEY, "not recorded by this run")}

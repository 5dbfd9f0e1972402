"""The training facts in the manifests of both models."""

from collections.abc import Mapping
from typing import Any

from export.common.from_onnx import RELEASED
from export.common.hyperparameters import KEY

CAUTION = "Web images of mixed or no licence, used for training and evaluation only; none is in this project."


def command_line(
    train: str, start: str, teacher: str, state: Mapping[str, Any], usual: Mapping[str, Any] | None = None
) -> str:
    """The command of such a training. start: the released file, finetuned or a teacher; teacher: another one."""
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
    """The hyperparameters in a checkpoint, as an entry of a manifest's `training`."""
    return {KEY: state.get(KEY, "not recorded by this run")}

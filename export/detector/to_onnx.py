"""Trained detectors as ONNX files."""

from pathlib import Path

import torch

from export.common.to_onnx import describe, write_onnx
from export.common.training import load_checkpoint
from export.detector.net import OUTPUTS, YuNetContract, kernels_of, net_like


def describe_teacher(file: Path, times: int, minutes: float, device: str) -> None:
    """Describe a wide net in its file, for the card of a detector that is distilled from it."""
    describe(file, f"a detector {times} times as wide, trained for {minutes:.0f} minutes on {device}")


def export_detector(checkpoint: Path, onnx_file: Path) -> float:
    """Write the averaged detector of a checkpoint, any height and width. Gives the largest difference to torch."""
    state = load_checkpoint(checkpoint)
    if state is None:
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train first with `python -m export train-detector`")
    net = net_like(kernels_of(state["average"]))
    net.load_state_dict(state["average"])
    axes = {"input": {2: "height", 3: "width"}, **{name: {1: f"cells_{name}"} for name in OUTPUTS}}
    sample = torch.rand(1, 3, 320, 256) * 255
    return write_onnx(YuNetContract(net).eval(), sample, onnx_file, OUTPUTS, axes)

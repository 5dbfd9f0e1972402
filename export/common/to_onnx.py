"""Trained networks as ONNX files, checked against torch on the same input."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from edge_app.inference.ort import onnxruntime as ort
from export.common.manifest import OPSET
from export.common.training import load_checkpoint
from export.detector.net import OUTPUTS, YuNetContract, kernels_of, like

TOLERANCE = 1e-3  # largest difference of an output between torch and onnxruntime, both in float32


def describe(file: Path, text: str) -> None:
    """Let an ONNX file say of itself what it is, for `from_onnx.origin`."""
    model = onnx.load(file)
    model.doc_string = text
    onnx.save(model, file)


def describe_teacher(file: Path, times: int, minutes: float, device: str) -> None:
    """Let the file of a wide net say so, for the card of a detector that learns from it."""
    describe(file, f"a detector {times} times as wide, trained for {minutes:.0f} minutes on {device}")


def export_detector(checkpoint: Path, onnx_file: Path) -> float:
    """Write the averaged detector of a checkpoint; free height and width. Gives the largest difference to torch."""
    state = load_checkpoint(checkpoint)
    if state is None:
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train first with `python -m export train-detector`")
    net = like(kernels_of(state["average"]))
    net.load_state_dict(state["average"])
    axes = {"input": {2: "height", 3: "width"}, **{name: {1: f"cells_{name}"} for name in OUTPUTS}}
    sample = torch.rand(1, 3, 320, 256) * 255
    return _export(YuNetContract(net).eval(), sample, onnx_file, OUTPUTS, axes)


def export_classifier(net: nn.Module, onnx_file: Path, size: int) -> float:
    """Write a classifier with a free batch dimension. Gives the largest difference to torch."""
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    return _export(net.eval(), torch.rand(2, 3, size, size) * 2 - 1, onnx_file, ["logits"], axes)


def _export(
    net: nn.Module, sample: torch.Tensor, file: Path, outputs: list[str], axes: dict[str, dict[int, str]]
) -> float:
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The tracing exporter is the one whose graphs hold constant reshapes, which OpenCV needs.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (sample,), str(file), input_names=["input"], output_names=outputs, dynamic_axes=axes,
            opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    with torch.inference_mode():
        expected = net(sample)
    expected = expected if isinstance(expected, tuple) else (expected,)
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(outputs, {"input": sample.numpy()})
    worst = max(float(np.abs(a.numpy() - b).max()) for a, b in zip(expected, found, strict=True))
    if worst > TOLERANCE:
        raise ValueError(f"{file}: onnxruntime differs from torch by {worst:.2g}, allowed {TOLERANCE:g}")
    return worst

"""Trained networks as ONNX files, checked against torch on the same input."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from edge_app.inference.ort import onnxruntime as ort
from export.common.manifest import OPSET

TOLERANCE = 1e-3  # largest difference of an output between torch and onnxruntime, both in float32


def describe(file: Path, text: str) -> None:
    """Set the doc string of an ONNX file, its provenance for `from_onnx.origin`."""
    model = onnx.load(file)
    model.doc_string = text
    onnx.save(model, file)


def write_onnx(
    net: nn.Module, sample: torch.Tensor, file: Path, outputs: list[str], axes: dict[str, dict[int, str]]
) -> float:
    """Trace a network into an ONNX file and run both on `sample`. Gives the largest difference of an output.

    Args:
        net: in evaluation mode. sample: its input, named `input` in the file.
        outputs: names, in order. axes: tensor name -> axis -> name of each dynamic axis.

    Raises:
        ValueError: they differ by more than `TOLERANCE`.
    """
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

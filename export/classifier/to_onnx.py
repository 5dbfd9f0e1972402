"""Trained classifiers as ONNX files."""

from pathlib import Path

import torch
from torch import nn

from export.common.to_onnx import write_onnx


def export_classifier(net: nn.Module, onnx_file: Path, size: int) -> float:
    """Write a classifier with a dynamic batch dimension. Gives the largest difference to torch."""
    axes = {"input": {0: "batch"}, "logits": {0: "batch"}}
    return write_onnx(net.eval(), torch.rand(2, 3, size, size) * 2 - 1, onnx_file, ["logits"], axes)

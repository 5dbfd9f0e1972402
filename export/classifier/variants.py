"""Depth, width and input size of the mask classifier, chosen by what each reaches a millisecond.

python -m export compare-classifiers --minutes 8 --out runs/variants
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn import metrics

from edge_app.inference.model import open_session
from edge_app.vision.crops import to_network_input
from export.classifier import train as classifier
from export.classifier.data import Faces
from export.classifier.evaluate import Crops
from export.classifier.quantize import calibration_crops, quantize
from export.classifier.to_onnx import export_classifier
from export.common.timing import in_turn


@dataclass(frozen=True, slots=True)
class Shape:
    """width: channels of the first stage; blocks: of each stage; size: side of the crop, pixels."""

    width: int
    blocks: int
    size: int


SHAPES = (
    Shape(16, 2, 112),
    Shape(24, 2, 112),
    Shape(32, 1, 112),
    Shape(48, 1, 112),
    Shape(32, 2, 96),
    Shape(32, 2, 112),
    Shape(32, 2, 128),
)


@dataclass(slots=True)
class Variant:
    """What a shape reached. millions: of parameters; steps: trained; fp32_ms, int8_ms: of one face at one thread;
    auc, accuracy, f1: of the int8 file, F1 of no_mask."""

    shape: Shape
    millions: float
    steps: int
    fp32_ms: float
    int8_ms: float
    auc: float
    accuracy: float
    f1: float


def measure(shape: Shape, out: Path, minutes: float, threads: int, faces: Faces, val: Crops) -> Variant:
    """Train one shape from scratch (or go on with it in `out`), export it in both precisions and measure it.

    val: labelled faces as crops of the shape's size; not trained on.
    """
    checkpoint = classifier.train(
        out, minutes, threads=threads, faces=faces, width=shape.width, blocks=shape.blocks, size=shape.size
    )
    net = classifier.load(checkpoint)
    export_classifier(net, out / "model.onnx", shape.size)
    quantize(out / "model.onnx", out / "model.int8.onnx", calibration_crops(faces, size=shape.size))
    sessions = {"fp32": open_session(str(out / "model.onnx")), "int8": open_session(str(out / "model.int8.onnx"))}
    inputs = (to_network_input(val.crops[i : i + 64]) for i in range(0, len(val.crops), 64))
    logits = np.concatenate([sessions["int8"].run(None, {"input": batch})[0] for batch in inputs])
    odds, truth = logits[:, 0] - logits[:, 1], val.labels == "mask"
    face = np.zeros((1, 3, shape.size, shape.size), np.float32)
    times = in_turn({name: partial(s.run, None, {"input": face}) for name, s in sessions.items()}, rounds=100)
    return Variant(
        shape,
        round(sum(p.numel() for p in net.parameters()) / 1e6, 2),
        int(torch.load(checkpoint, weights_only=True)["step"]),
        times["fp32"],
        times["int8"],
        round(float(metrics.roc_auc_score(truth, odds)), 4),
        round(float(((odds > 0) == truth).mean()), 4),
        round(float(metrics.f1_score(~truth, odds <= 0)), 4),
    )


def table(variants: list[Variant]) -> str:
    """Markdown, one line a shape."""
    lines = [
        "| first stage, blocks, crop | parameters | fp32 ms | int8 ms | steps | ROC AUC | accuracy | F1 no_mask |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {v.shape.width}, {v.shape.blocks}, {v.shape.size} px | {v.millions} M | {v.fp32_ms} | {v.int8_ms} "
        f"| {v.steps:,} | {v.auc} | {v.accuracy} | {v.f1} |"
        for v in variants
    ]
    return "\n".join(lines)

"""Model folders made on the spot: a manifest and an ONNX graph small enough to know every number it gives."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.inference.manifest import CROP_RESIZE, FRAME_RESIZE, HEADS, STRIDES
from edge_app.vision.crops import CROP_MARGIN, PIXEL_MEAN, PIXEL_SCALE
from tests.conftest import need

CROPS: dict[str, Any] = {
    "name": "input",
    "shape": ["batch", 3, 112, 112],
    "colour": "RGB",
    "mean": PIXEL_MEAN,
    "scale": PIXEL_SCALE,
    "crop_margin": CROP_MARGIN,
    "resize": CROP_RESIZE,
}
FRAMES: dict[str, Any] = {
    "name": "input",
    "shape": [1, 3, "height", "width"],
    "colour": "BGR",
    "resize": FRAME_RESIZE,
}
HEAD_OUTPUTS = [
    {"name": f"{head}_{stride}", "shape": [1, "cells", values]} for head, values in HEADS.items() for stride in STRIDES
]
# What a manifest of a detector says otherwise.
DETECTOR: dict[str, Any] = {
    "task": "face_detection",
    "input": FRAMES,
    "outputs": HEAD_OUTPUTS,
    "labels": ["face"],
    "thresholds": {"score@320": 0.5},
}
WEIGHT = 4.0  # mask logit = WEIGHT * mean of the red channel, no_mask logit = -that


def manifest(payload: bytes, **changes: Any) -> dict[str, Any]:
    """A manifest of a mask classifier for one file, `model.onnx`, under both precisions."""
    entry = {"file": "model.onnx", "sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}
    return {
        "name": "tiny",
        "version": "1",
        "task": "mask_classification",
        "files": {"fp32": entry, "int8": entry},
        "opset": 17,
        "input": CROPS,
        "outputs": [{"name": "logits", "shape": ["batch", 2]}],
        "labels": ["mask", "no_mask"],
        "thresholds": {"mask": 0.8, "no_mask": 0.2},
        "metrics": {},
        "training": {},
    } | changes


def write_folder(folder: Path, payload: bytes, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(payload)
    (folder / "manifest.json").write_text(json.dumps(manifest(payload, **changes)), encoding="utf-8")
    return folder


def tiny_graph(
    *,
    size: int = 112,
    labels: int = 2,
    input_name: str = "input",
    output_name: str = "logits",
    half: bool = False,
    weight: float = WEIGHT,
    more: tuple[str, ...] = (),
    before: Any = (),
) -> bytes:
    """ONNX bytes of a classifier that looks at nothing but how red the picture is; `half`: its left half.

    more: other tensors that are outputs too. before: nodes that run before ours.
    """
    need(importlib.util.find_spec("onnx"), "onnx is missing: pip install onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3, labels), np.float32)
    weights[0, :2] = (weight, -weight)[:labels]
    graph = helper.make_graph(
        [
            *before,
            helper.make_node("Slice", [input_name, "start", "end", "axis"], ["seen"]),
            helper.make_node("GlobalAveragePool", ["seen"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], [output_name]),
        ],
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", 3, size, size])],
        [
            helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", labels]),
            *(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            *(
                numpy_helper.from_array(np.array([value]), name)
                for name, value in (("start", 0), ("end", size // 2 if half else size), ("axis", 3))
            ),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def tiny_detector(
    *, size: tuple[int | str, int | str] = ("height", "width"), values: int = 0, score: float = 0.0
) -> bytes:
    """ONNX bytes of a detector of the contract that gives every cell the same `score` and box; blind, but it runs.

    size: of the frames that it declares. values: so many more than the contract has in each cell of each `kps`,
    behind outputs that are declared as they should be.
    """
    need(importlib.util.find_spec("onnx"), "onnx is missing: pip install onnx")
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights, outputs = [], [], []
    for head, count in HEADS.items():
        for stride in STRIDES:
            name, width = f"{head}_{stride}", count + values * (head == "kps")
            kernel = np.zeros((width, 3, stride, stride), np.float32)
            bias = np.full(width, score if head in ("cls", "obj") else 0, np.float32)
            weights += [numpy_helper.from_array(kernel, f"k_{name}"), numpy_helper.from_array(bias, f"b_{name}")]
            weights.append(numpy_helper.from_array(np.array([1, -1, width]), f"s_{name}"))
            nodes += [
                helper.make_node("Conv", ["input", f"k_{name}", f"b_{name}"], [f"c_{name}"], strides=[stride, stride]),
                helper.make_node("Transpose", [f"c_{name}"], [f"t_{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t_{name}", f"s_{name}"], [name]),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, f"cells_{name}", f"n_{name}"]))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *size])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())

"""Model folders made on the spot: a manifest and an ONNX graph small enough to know every number it gives."""

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import need

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
        "input": {"name": "input", "shape": ["batch", 3, 112, 112], "colour": "RGB", "resize": "square"},
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
    *, size: int = 112, labels: int = 2, input_name: str = "input", output_name: str = "logits", half: bool = False
) -> bytes:
    """ONNX bytes of a classifier that looks at nothing but how red the picture is; `half`: its left half."""
    need(importlib.util.find_spec("onnx"), "onnx is missing: pip install onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((3, labels), np.float32)
    weights[0, :2] = (WEIGHT, -WEIGHT)[:labels]
    graph = helper.make_graph(
        [
            helper.make_node("Slice", [input_name, "start", "end", "axis"], ["seen"]),
            helper.make_node("GlobalAveragePool", ["seen"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], [output_name]),
        ],
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", 3, size, size])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", labels])],
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

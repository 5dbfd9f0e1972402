"""Detectors for the workshop: opened from a model folder or a bare ONNX file, and accessors of their output rows."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from edge_app.errors import ModelError, first_line
from edge_app.inference.model import Model, open_session
from edge_app.vision.detector import ENGINES, Engine, OnnxRuntimeEngine, OpenCvEngine

Array = npt.NDArray[np.float32]

LOWEST_SCORE = 0.02
OVERLAP = 0.3  # IoU threshold of non-maximum suppression


def open_engine(model: Path, kind: str = "opencv", threads: int = 1, score: float = LOWEST_SCORE) -> Engine:
    """An engine from a model folder, or from a peer's ONNX file of the same contract without a manifest.

    score: score threshold.
    """
    cv2.setNumThreads(threads)
    if model.is_dir():
        return ENGINES[kind](Model(model), score, OVERLAP, threads)
    if kind == "opencv":
        try:
            return OpenCvEngine(model.read_bytes(), score, OVERLAP)
        except (OSError, cv2.error) as error:
            raise ModelError(f"{model}: OpenCV cannot load it ({first_line(error)}): expected an ONNX file") from None
    # ONNX Runtime enforces the declared sizes: make them dynamic.
    try:
        network = onnx.load(model)
    except Exception as error:  # protobuf raises its own types
        raise ModelError(f"{model}: not an ONNX file ({first_line(error)}); expected one of YuNet's contract") from None
    for value in (*network.graph.input, *network.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis:
                dimension.dim_param = f"{value.name}_{axis}"
    content = network.SerializeToString()
    return OnnxRuntimeEngine(open_session(content).get_inputs()[0], content, score, OVERLAP, threads)


def xyxy(rows: Array) -> Array:
    """Boxes (n, 4) of an engine's rows, whose first columns are x, y, width, height."""
    return np.asarray(np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]), np.float32)


def landmarks(rows: Array) -> Array:
    """The five points (n, 5, 2) of an engine's rows."""
    return rows[:, 4:14].reshape(-1, 5, 2)


def iou(a: Array, b: Array) -> Array:
    """IoU of every pair: (n, 4) and (m, 4) xyxy -> (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    union = area_a[:, None] + area_b[None] - inter
    return np.asarray(inter / np.maximum(union, 1e-6), np.float32)

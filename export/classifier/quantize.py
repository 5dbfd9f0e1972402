"""Static post-training int8 quantization: QDQ nodes, per-channel scales, activations calibrated on training crops.

'Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference', 1712.05877.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_app.inference.ort import part
from edge_app.vision.crops import crop_face, to_network_input
from export.classifier.augment import degrade
from export.classifier.data import INCORRECT, MASK, NO_MASK, Faces

CALIBRATION_CROPS = 512
_onnx: Any = part("quantization")


class _Crops(_onnx.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, crops: npt.NDArray[np.uint8], batch: int = 32) -> None:
        self._batches: Iterator[npt.NDArray[np.uint8]] = iter(
            [crops[i : i + batch] for i in range(0, len(crops), batch)]
        )

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        crops = next(self._batches, None)
        return None if crops is None else {"input": to_network_input(crops)}


def calibration_crops(faces: Faces, count: int = CALIBRATION_CROPS, seed: int = 0) -> npt.NDArray[np.uint8]:
    """uint8 (n, S, S, 3) BGR training crops, kinds balanced, half of them degraded."""
    rng = np.random.default_rng(seed)
    kinds = [k for k in (MASK, NO_MASK, INCORRECT) if (faces.kinds == k).any()]
    crops = []
    for i in range(count):
        face = faces[int(rng.choice(np.flatnonzero(faces.kinds == kinds[i % len(kinds)])))]
        crop = crop_face(face.region, face.box)
        crops.append(degrade(crop, rng) if i % 2 else crop)
    return np.stack(crops)


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantizer warns, on the root logger, about a step that is already done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def quantize(source: Path, target: Path, crops: npt.NDArray[np.uint8]) -> None:
    """Write the int8 version of an ONNX classifier.

    Args:
        source: float32 ONNX file with input `input`. target: file to write.
        crops: uint8 (n, S, S, 3) BGR training crops for the calibration of the activation ranges.
    """
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        _onnx.shape_inference.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        _onnx.quantize_static(
            str(ready),
            str(target),
            _Crops(crops),
            quant_format=_onnx.QuantFormat.QDQ,
            per_channel=True,
            # Unsigned activations with signed weights: the operands of the int8 dot product of x86.
            activation_type=_onnx.QuantType.QUInt8,
            weight_type=_onnx.QuantType.QInt8,
            calibrate_method=_onnx.CalibrationMethod.MinMax,
        )

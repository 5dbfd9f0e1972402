"""What the tests of the model workshop share: its heavy modules, and small pictures with known faces."""

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import pytest

if TYPE_CHECKING:
    from torch import nn

    from export.detector.net import Net
    from export.detector.scene import Scene

Pixels = npt.NDArray[np.uint8]
RED = (0, 0, 255)  # BGR


def missing(*modules: str) -> str | None:
    """Why one of the modules cannot be imported, or None."""
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken pair of torch and torchvision raises more than ImportError
            return f"{name} cannot be imported ({error}): pip install '.[export]'"
    return None


class StepClock:
    """A clock that only a training's reading moves on: as many steps on a machine of any speed, about one a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def leave(reason: str) -> None:
    """Skip the whole test module; in CI, which has to have everything, fail it. (`need` does this inside a test.)"""
    if os.environ.get("CI"):
        pytest.fail(f"CI must be able to run these tests: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def red_square(box: tuple[int, int, int, int], size: tuple[int, int] = (480, 360)) -> Pixels:
    """Grey noise of (width, height) with a solid red square where the face is."""
    image = np.random.default_rng(0).integers(90, 150, (size[1], size[0], 1), np.uint8).repeat(3, 2)
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = RED
    return image


def is_red(image: Pixels) -> npt.NDArray[np.bool_]:
    wide = image.astype(int)
    return np.asarray((wide[..., 2] > 180) & (wide[..., :2].max(2) < 75))


def png(image: Pixels) -> Pixels:
    return np.asarray(cv2.imencode(".png", image)[1], np.uint8).ravel()


def extent(image: Pixels) -> tuple[int, int]:
    """Width and height of what is not black."""
    rows, columns = np.nonzero(image.any(2))
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def red_scene(box: tuple[int, int, int, int] = (200, 120, 260, 180)) -> "Scene":
    """A `red_square` whose box is a masked face with landmarks."""
    from export.detector.data import FACE
    from export.detector.scene import Scene

    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    points = np.array([(0.3, 0.35), (0.7, 0.35), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]) * [width, height] + [x0, y0]
    return Scene(
        "drawn/face.png",
        png(red_square(box)),
        np.array([box], np.float32),
        np.array([FACE]),
        points[None].astype(np.float32),
        np.array([False]),
    )


def train_norms(net: "nn.Module") -> None:
    """Bring batch norms far from where they begin, as a long training does."""
    from torch import nn

    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                nn.init.uniform_(tensor, 0.2, 1.5)


def trained(net: "Net", spread: float = 0.5) -> "Net":
    """The detector, in place, with norms and heads as if it had learnt, for use; spread: of the heads' parameters."""
    from torch import nn

    train_norms(net)
    for weight in net.heads.parameters():
        nn.init.normal_(weight, std=spread)
    return net.eval()


def first_kernel(file: Path) -> npt.NDArray[np.float32]:
    """The kernel of an ONNX file's first convolution, float32 (out, in, kh, kw)."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(file).graph
    name = next(node for node in graph.node if node.op_type == "Conv").input[1]
    return to_array(next(tensor for tensor in graph.initializer if tensor.name == name))

"""The baseline of the bench, the classic recipe: detector at 640 px, then ResNet-50 at 224 px, face by face.

Weights are random: only its time matters. The network is ResNet-50 ('Deep Residual Learning for Image
Recognition', 1512.03385, with the stride in the 3x3 convolution as torchvision has it), batch normalisation folded.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_app.config.settings import DetectorSettings
from edge_app.errors import UsageError
from edge_app.inference.ort import onnxruntime
from edge_app.vision.crops import crop_face, to_network_input
from edge_app.vision.detector import open_detector

SIDE = 224
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # width, blocks, stride of the first


class ClassicRecipe:
    """Detect, then classify one face at a time in float32, each with all cores as the libraries do by default.

    Raises:
        UsageError: the `onnx` package, which builds the network, is absent.
        ModelError: the detector cannot be used.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        cores = os.cpu_count() or 1
        self._detector = open_detector(settings.model_copy(update={"input_size": 640, "threads": cores}))
        self._session = onnxruntime.InferenceSession(resnet50(), providers=["CPUExecutionProvider"])

    def classify(self, image: npt.NDArray[np.uint8]) -> int:
        """Detect and classify the faces of a uint8 (H, W, 3) BGR image; gives their number."""
        boxes = self._detector.detect(image).xyxy
        for box in boxes:
            self._session.run(None, {"image": to_network_input(crop_face(image, box, SIDE)[None])})
        return len(boxes)


def resnet50() -> bytes:
    """A serialised ONNX ResNet-50: image float32 (1, 3, 224, 224) -> logits (1, 2), 23.5 M random weights."""
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise UsageError("--classic needs the onnx package: pip install onnx") from None
    rng = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []

    def constant(shape: tuple[int, ...], scale: float) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(rng.normal(0, scale, shape).astype(np.float32), name))
        return name

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def conv(x: str, cin: int, cout: int, kernel: int, stride: int = 1) -> str:
        weight = constant((cout, cin, kernel, kernel), (2 / (cin * kernel * kernel)) ** 0.5)
        return add("Conv", x, weight, constant((cout,), 0.01), strides=[stride] * 2, pads=[kernel // 2] * 4)

    x = add("Relu", conv("image", 3, 64, 7, 2))
    x, channels = add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), 64
    for width, blocks, first in STAGES:
        for block in range(blocks):
            stride = first if block == 0 else 1
            skip = conv(x, channels, 4 * width, 1, stride) if block == 0 else x
            inner = add("Relu", conv(x, channels, width, 1))
            inner = add("Relu", conv(inner, width, width, 3, stride))
            x, channels = add("Relu", add("Add", conv(inner, width, 4 * width, 1), skip)), 4 * width
    flat = add("Flatten", add("GlobalAveragePool", x))
    logits = add("Gemm", flat, constant((2, channels), 0.01), constant((2,), 0.01), transB=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    answer = helper.make_tensor_value_info(logits, TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph(nodes, "resnet50", [image], [answer], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())

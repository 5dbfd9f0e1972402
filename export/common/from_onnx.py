"""Weights of a released ONNX file, back into a network to finetune: no checkpoint needs to be kept."""

from collections.abc import Iterable
from pathlib import Path

import onnx
import torch
from onnx.numpy_helper import to_array
from torch import Tensor, nn

from edge_app.errors import UsageError, first_line
from edge_app.inference.manifest import MANIFEST
from edge_app.inference.model import Model

RELEASED = " of version "  # part of the `origin` of a released file


def origin(file: Path) -> str:
    """The provenance of an ONNX file: its doc string, else its version in the manifest beside it, else its name.

    Raises:
        UsageError: not an ONNX file.
    """
    if text := read(file).doc_string:
        return text
    known = (file.parent / MANIFEST).is_file()
    return f"{file.name}{RELEASED}{Model(file.parent).manifest.version}" if known else file.name


def read(file: Path) -> onnx.ModelProto:
    """An ONNX file. Raises UsageError where it is none."""
    try:
        return onnx.load(file)
    except Exception as error:  # protobuf raises its own types
        raise UsageError(f"{file}: not an ONNX file ({first_line(error)}); expected one that export wrote") from None


def layers(file: Path) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every convolution and linear layer of an ONNX file, in the order in which it runs them."""
    graph = read(file).graph
    tensors = {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in graph.initializer}
    named = [node.input[1:] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    return [(tensors[names[0]], tensors[names[1]]) for names in named if len(names) == 2 and {*names} <= {*tensors}]


def kernels(file: Path) -> list[Tensor]:
    """The weights of `layers`."""
    return [weight for weight, _ in layers(file)]


@torch.no_grad()
def load_onnx_weights(net: nn.Module, file: Path, inputs: Iterable[Tensor], scale: float = 1.0) -> None:
    """Load the weights of an export back into `net`, whose layers are in execution order.

    Export has folded each batch norm ('Batch Normalization', 1502.03167) into the convolution before it. Here each gets
    the mean and variance of its input as running statistics, and a scale and bias that undo them: the function stays
    the same, and training finds a working norm.

    Args:
        net: changed in place.
        file: fp32 ONNX file that `export_classifier` or `export_detector` wrote.
        inputs: batches of network input, to measure means and variances on.
        scale: of the input, where export has moved it into the first layer.

    Raises:
        UsageError: not such a file, or of a network of another shape.
    """
    modules, given = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)], layers(file)
    if [module.weight.shape for module in modules] != [weight.shape for weight, _ in given]:
        raise UsageError(f"{file}: a network of another shape; expected the fp32 file of {type(net).__name__}")
    given[0][0].div_(scale)
    for module, (weight, bias) in zip(modules, given, strict=True):
        module.load_state_dict({"weight": weight} | ({} if module.bias is None else {"bias": bias}))
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    normed = [bias for module, (_, bias) in zip(modules, given, strict=True) if module.bias is None]
    for norm, bias in zip(norms, normed, strict=True):
        norm.reset_running_stats()  # mean 0, variance 1
        norm.load_state_dict({"weight": torch.full_like(bias, (1 + norm.eps) ** 0.5), "bias": bias}, strict=False)
    training = net.training
    net.eval()
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {norm: [] for norm in norms}

    def record(norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen[norm].append((args[0].mean((0, 2, 3)), args[0].square().mean((0, 2, 3))))

    hooks = [norm.register_forward_pre_hook(record) for norm in norms]
    for x in inputs:
        net(x)
    net.train(training)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        mean, square = (torch.stack(part).mean(0) for part in zip(*seen[norm], strict=True))
        variance = (square - mean.square()).clamp_min(1e-6)
        norm.load_state_dict(
            {"weight": (variance + norm.eps).sqrt(), "bias": norm.bias + mean, "running_mean": mean,
             "running_var": variance}, strict=False,
        )  # fmt: skip

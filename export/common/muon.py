"""Muon for convolution kernels, AdamW (1711.05101) for all other parameters.

Muon orthogonalises the update of a matrix, so that all its singular values are alike ('Muon is Scalable for
LLM Training', 2502.16982, whose scaling allows AdamW's learning rate and weight decay). `torch.optim.Muon` takes
matrices only; a kernel (out, in, kh, kw) is viewed as (out, in * kh * kw).
"""

from typing import Any

import torch
from torch import Tensor, nn


class Muon:
    """The part of `torch.optim.Optimizer` that a training loop uses, over two optimizers.

    Args:
        net: in `torch.channels_last`.
        rate: learning rate of both, until `param_groups` are changed.
        decay: of the kernels only; on biases and batch norm it shrinks what has no scale to spare.
    """

    def __init__(self, net: nn.Module, rate: float, decay: float) -> None:
        self.net = net
        # The rows of a depthwise kernel belong to independent channels: no matrix to orthogonalise.
        self.kernels = [p for p in net.parameters() if p.ndim == 4 and p.shape[1] > 1]
        # A step moves the matrix, and with it the kernel, whose memory it shares.
        self.matrices = [nn.Parameter(last(p.detach()).view(len(p), -1)) for p in self.kernels]
        kernels = {id(p) for p in self.kernels}
        others = [p for p in net.parameters() if id(p) not in kernels]
        self.muon = torch.optim.Muon(self.matrices, rate, decay, adjust_lr_fn="match_rms_adamw")
        self.adam = torch.optim.AdamW(others, rate, weight_decay=0.0)
        self.param_groups: list[dict[str, Any]] = self.muon.param_groups + self.adam.param_groups

    def zero_grad(self) -> None:
        self.net.zero_grad(set_to_none=True)

    def step(self) -> None:
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else last(kernel.grad).flatten(1)
        self.muon.step()  # type: ignore[no-untyped-call]
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def last(kernel: Tensor) -> Tensor:
    """A kernel (out, in, kh, kw) as (out, kh, kw, in), without a copy."""
    return kernel.permute(0, 2, 3, 1)

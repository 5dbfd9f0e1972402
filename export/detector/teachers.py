"""Knowledge distillation: the scores of earlier detectors are soft targets beside the labels."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from export.detector.hyperparameters import DEFAULTS
from export.detector.net import Net, flatten_maps


def fuse_norms(net: Net) -> Net:
    """The net, in place, with each batch norm folded into the convolution before it, as in a released file."""
    net.eval()
    for block in net.modules():
        if isinstance(block, nn.Sequential):
            for i, (layer, norm) in enumerate(itertools.pairwise(block)):
                if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    block[i], block[i + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return net


class Teachers:
    """An ensemble of teachers, each on its own part of a batch, in rotation, and with a horizontal flip in turn. The
    loss is linear in their probabilities, so in expectation the target is the mean over the ensemble and both views,
    for the cost of one network."""

    def __init__(self, nets: list[Net]) -> None:
        self.nets = nets

    @torch.no_grad()
    def __call__(self, images: Tensor, turn: int) -> Tensor:
        """Log-odds of cls and obj, (B, N, 2), of images (B, 3, S, S), 0..255; turn: counts batches."""
        count = len(self.nets)
        parts = images.chunk(count)
        return torch.cat(
            [self._logits(self.nets[(i + turn) % count], p, turn // count % 2 == 1) for i, p in enumerate(parts)]
        )

    @staticmethod
    def _logits(net: Net, images: Tensor, mirrored: bool) -> Tensor:
        images = images.to(next(net.parameters()).dtype)  # bfloat16 holds 0..255 exactly
        maps = [m[:, :2] for m in net(images.flip(-1) if mirrored else images)]
        return flatten_maps([m.flip(-1) for m in maps] if mirrored else maps)


def mixup(images: Tensor, most: float = DEFAULTS.mixup) -> Tensor:
    """Mixup ('mixup: Beyond Empirical Risk Minimization', 1710.09412) of each image of uint8 (B, 3, S, S) with another
    of its batch. They have no labels, and no teacher has memorised them: function matching ('Knowledge distillation: A
    good teacher is patient and consistent', 2106.05237). most: maximum mixing weight of the other image."""
    share = most * torch.rand(len(images), 1, 1, 1, device=images.device)
    over = images[torch.randperm(len(images), device=images.device)]
    return torch.lerp(images.float(), over.float(), share).round().to(images.dtype)

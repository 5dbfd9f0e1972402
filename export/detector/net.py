"""The face detector network, with three strides and the tensor contract of `cv2.FaceDetectorYN`, and its teachers'.

Contract: 'YuNet: A Tiny Millisecond-level Face Detector', Machine Intelligence Research, 2023, and the decoding in
OpenCV's `face_detect.cpp`.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
INPUT_SCALE = 1 / 128  # pixels 0..255 become 0..2
FINEST = 16  # channels at full detail
# Channels of `FaceNet` at each stride, and of the tower of each head.
WIDTHS, TOWERS = (64, 128, 128), (32, 64, 64)
PLAIN_WIDTHS, PLAIN_TOWERS = (32, 64, 64), (24, 32, 64)  # of `PlainNet`
# Weight of cls in the released scores of each stride, which are weighted means of the logits: cls ranks localisation,
# obj whether there is a face. Up to version 18 scores were the geometric mean, which the smaller one dominates.
CLS_SHARES = (0.75, 0.65, 0.75)
OUTPUTS = [f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in STRIDES]


def conv(cin: int, cout: int, stride: int = 1, kernel: int = 3, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    pad = dilation * (kernel // 2)
    layer = nn.Conv2d(cin, cout, kernel, stride, pad, dilation, groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(cout), nn.ReLU())


def separable(cin: int, cout: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A depthwise and a pointwise convolution ('MobileNets', 1704.04861)."""
    return nn.Sequential(conv(cin, cin, stride, dilation=dilation, groups=cin), conv(cin, cout, kernel=1))


class Block(nn.Module):
    """A residual block ('Deep Residual Learning', 1512.03385) of a depthwise and a pointwise convolution, which starts
    as the identity ('Bag of Tricks for Image Classification with Convolutional Neural Networks', 1812.01187)."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.depth = conv(channels, channels, dilation=dilation, groups=channels)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.point = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), norm)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(x + self.point(self.depth(x)))
        return out


class Head(nn.Module):
    """The predictions of one stride from its features: cls 1, obj 1, bbox 4, kps 10 channels in one 1x1 convolution."""

    def __init__(self, tower: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.tower = tower
        self.out = nn.Conv2d(channels, 16, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        bias = self.out.bias
        assert bias is not None
        nn.init.zeros_(bias)
        with torch.no_grad():
            bias[:2] = -4.0  # a prior of 0.02, so that the many negatives cost little at first ('Focal Loss')

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.tower(x))
        return out


def heads(make: Callable[..., nn.Sequential], widths: Iterable[int], towers: Iterable[int]) -> nn.ModuleList:
    """A head for each stride, with a tower from `make`; dilation enlarges the receptive field of the coarsest, for
    faces that fill the frame."""
    parts = zip(widths, towers, (1, 1, 2), strict=True)
    return nn.ModuleList([Head(make(width, tower, dilation=d), tower) for width, tower, d in parts])


class Net(nn.Module):
    """BGR image, 0..255, float32 (B, 3, H, W), H and W multiples of 32 -> three raw maps (B, 16, H/s, W/s).

    Anchor-free. Channels of a map: 0 cls logit, 1 obj logit, 2:6 dx, dy, log w, log h in strides, 6:16 five landmarks
    in strides from the cell's corner (right eye, left eye, nose tip, right and left mouth corner, in OpenCV's order).
    Backbone features of each stride, `c8` to `c32`, joined top-down (`top16`, `top8`) and fused (`f16`, `f8`) as in
    'Feature Pyramid Networks' (1612.03144). Layers are in execution order.
    """

    times = 1  # width multiplier
    stem: nn.Sequential
    c8: nn.Sequential
    c16: nn.Sequential
    c32: nn.Sequential
    top16: nn.Module
    f16: nn.Module
    top8: nn.Module
    f8: nn.Module
    heads: nn.ModuleList

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")

    def towers(self) -> tuple[int, ...]:
        """Channels of each head."""
        return tuple(head.out.in_channels for head in self.heads if isinstance(head, Head))

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.raw_maps(x * INPUT_SCALE)

    def raw_maps(self, x: Tensor) -> list[Tensor]:
        """`forward` for pixels that are already scaled."""
        p8 = self.c8(self.stem(x))
        p16 = self.c16(p8)
        p32 = self.c32(p16)
        p16 = self.f16(p16 + self.up(self.top16(p32)))
        p8 = self.f8(p8 + self.up(self.top8(p16)))
        return [head(p) for head, p in zip(self.heads, (p8, p16, p32), strict=True)]


class FaceNet(Net):
    """The detector. Depthwise separable convolutions allow twice the channels of a plain net in about the same time,
    from stride 8 on; at finer strides they are memory-bound.

    towers: channels of each head."""

    def __init__(self, towers: tuple[int, ...] = TOWERS) -> None:
        super().__init__()
        w8, w16, w32 = WIDTHS
        self.stem = nn.Sequential(conv(3, FINEST, 2), conv(FINEST, FINEST, 2))  # stride 4
        self.c8 = nn.Sequential(conv(FINEST, w8, 2), Block(w8))
        self.c16 = nn.Sequential(separable(w8, w16, 2), Block(w16), Block(w16))
        # Dilation, as in the last head.
        self.c32 = nn.Sequential(separable(w16, w32, 2), Block(w32), Block(w32, dilation=2), Block(w32))
        self.top16, self.f16 = conv(w32, w16, kernel=1), Block(w16)
        self.top8, self.f8 = conv(w16, w8, kernel=1), Block(w8)
        self.heads = heads(separable, WIDTHS, towers)


class PlainNet(Net):
    """Plain 3x3 convolutions: the detector up to version 15, and, `times` as wide, a teacher that trains in minutes
    on a GPU. towers: channels of each head; none: `PLAIN_TOWERS`."""

    def __init__(self, towers: tuple[int, ...] = (), times: int = 1) -> None:
        super().__init__()
        self.times = times
        towers = towers or tuple(times * tower for tower in PLAIN_TOWERS)
        thin, w8, w16, w32 = (times * width for width in (FINEST, *PLAIN_WIDTHS))
        self.stem = nn.Sequential(conv(3, thin, 2), conv(thin, thin, 2))
        self.c8 = nn.Sequential(conv(thin, w8, 2), conv(w8, w8))
        self.c16 = nn.Sequential(conv(w8, w16, 2), conv(w16, w16))
        self.c32 = nn.Sequential(conv(w16, w32, 2), conv(w32, w32, dilation=2), conv(w32, w32))
        self.top16, self.f16 = conv(w32, w16, kernel=1), nn.Identity()
        self.top8, self.f8 = conv(w16, w8, kernel=1), nn.Identity()
        self.heads = heads(conv, (w8, w16, w32), towers)


def net_like(kernels: list[Tensor]) -> Net:
    """An untrained network of the class and widths of given kernels, which are in execution order."""
    paired = any(kernel.shape[1] == 1 for kernel in kernels)
    # Heads come last: of each a tower, one layer, or a depthwise and a pointwise one, then the 1x1 output.
    towers = tuple(out.shape[1] for out in (kernels[-7::3] if paired else kernels[-5::2]))
    if paired:
        return FaceNet(towers if len(towers) == len(STRIDES) else TOWERS)
    times = max(1, len(kernels[0]) // FINEST) if kernels else 1
    return PlainNet(towers if len(towers) == len(STRIDES) else (), times)


def kernels_of(weights: dict[str, Tensor]) -> list[Tensor]:
    """The kernels among the weights of a network, in execution order."""
    return [weight for weight in weights.values() if weight.ndim == 4]


def flatten_maps(maps: list[Tensor]) -> Tensor:
    """Maps (B, C, H/s, W/s) of all strides -> float32 (B, N, C), cells in the order of `loss.grid`."""
    return torch.cat([m.float().permute(0, 2, 3, 1).flatten(1, 2) for m in maps], 1)


class YuNetContract(nn.Module):
    """Wraps a trained `Net` for export: twelve outputs (1, cells, 1|1|4|10), scores after the sigmoid.

    The reshape is by constants, (1, -1, 16), so one file serves every input size: OpenCV fails on `Shape` nodes.
    The input's scale moves into the first convolution, which saves a pass over the picture. Both cls and obj are
    the weighted mean of the two (`CLS_SHARES`), so their geometric mean is too; trained weights are unchanged.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        with torch.no_grad():
            next(self.net.stem.parameters()).mul_(INPUT_SCALE)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        # Few operations, as small ones are mostly overhead: a cell's predictions are one row, to be split.
        out: dict[str, list[Tensor]] = {"cls": [], "obj": [], "bbox": [], "kps": []}
        for raw, share in zip(self.net.raw_maps(image), CLS_SHARES, strict=True):
            both, bbox, kps = torch.split(raw.permute(0, 2, 3, 1).reshape(1, -1, 16), [2, 4, 10], 2)
            score = (both @ torch.tensor([[share], [1 - share]])).sigmoid()
            for name, part in zip(out, (score, score, bbox, kps), strict=True):
                out[name].append(part)
        return tuple(part for head in out.values() for part in head)

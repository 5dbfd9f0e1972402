"""The face detector network: plain 3x3 convolutions, three strides, the tensor contract of `cv2.FaceDetectorYN`.

Plain convolutions instead of YuNet's depthwise pairs: a depthwise layer does little arithmetic for the memory it
moves, so on CPUs a plain net of over three times the parameters takes about the same time and learns far faster from
scratch. Contract: 'YuNet: A Tiny Millisecond-level Face Detector', Machine Intelligence Research, 2023, and the
decoding in OpenCV's `face_detect.cpp`.
"""

import copy

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
INPUT_SCALE = 1 / 128  # pixels 0..255 become 0..2
# Channels between a head's features and its 16 answers. 24 at stride 8 take 4 % less of the whole time than 32, which
# pays for twice as many at stride 32, where one small map has all faces that fill the frame.
TOWERS = (24, 32, 64)
FINEST = 16  # channels at full detail
OUTPUTS = [f"{head}_{stride}" for head in ("cls", "obj", "bbox", "kps") for stride in STRIDES]


def conv(cin: int, cout: int, stride: int = 1, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    pad = dilation * (kernel // 2)
    layers = [nn.Conv2d(cin, cout, kernel, stride, pad, dilation, bias=False), nn.BatchNorm2d(cout), nn.ReLU()]
    return nn.Sequential(*layers)


class Head(nn.Module):
    """One stride's answers from its features: cls 1, obj 1, bbox 4, kps 10 channels in one 1x1 convolution."""

    def __init__(self, channels: int, tower: int, dilation: int = 1) -> None:
        super().__init__()
        self.tower = conv(channels, tower, dilation=dilation)
        self.out = nn.Conv2d(tower, 16, 1)
        nn.init.normal_(self.out.weight, std=0.01)
        bias = self.out.bias
        assert bias is not None
        nn.init.zeros_(bias)
        with torch.no_grad():
            bias[:2] = -4.0  # a score of 0.02 everywhere, so that the many empty cells cost little at first

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.tower(x))
        return out


class FaceNet(nn.Module):
    """BGR image, 0..255, float32 (B, 3, H, W), H and W multiples of 32 -> three maps (B, 16, H/s, W/s) of raw answers.

    Channels of a map: 0 cls logit, 1 obj logit, 2:6 dx, dy, log w, log h in strides, 6:16 five landmarks in strides
    from the cell's corner (right eye, left eye, nose tip, right and left mouth corner, as OpenCV orders them).
    towers: channels of each head; none: `TOWERS`. times: as many channels everywhere, for a net that only teaches.
    """

    def __init__(self, towers: tuple[int, ...] = (), times: int = 1) -> None:
        super().__init__()
        self.times = times
        towers = towers or tuple(times * width for width in TOWERS)
        # Widths are multiples of 16, the block that CPU convolution kernels work in; 16 channels at full detail and
        # 32 at stride 8 are what YuNet's time leaves room for (a 48-wide stride 8 costs a third more).
        thin, mid, full = times * FINEST, times * 32, times * 64
        self.stem = nn.Sequential(conv(3, thin, 2), conv(thin, thin, 2))  # stride 4
        self.c8 = nn.Sequential(conv(thin, mid, 2), conv(mid, mid))
        self.c16 = nn.Sequential(conv(mid, full, 2), conv(full, full))
        # Dilation, here and in the last head, widens the view to faces that fill the frame (431 pixels), for the price
        # of plain layers on the smallest map.
        self.c32 = nn.Sequential(conv(full, full, 2), conv(full, full, dilation=2), conv(full, full))
        self.top16 = conv(full, full, kernel=1)
        self.top8 = conv(full, mid, kernel=1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.heads = nn.ModuleList([Head(mid, towers[0]), Head(full, towers[1]), Head(full, towers[2], dilation=2)])

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.answers(x * INPUT_SCALE)

    def answers(self, x: Tensor) -> list[Tensor]:
        """`forward` for pixels that are already scaled."""
        p8 = self.c8(self.stem(x))
        p16 = self.c16(p8)
        p32 = self.c32(p16)
        p16 = p16 + self.up(self.top16(p32))
        p8 = p8 + self.up(self.top8(p16))
        return [head(p) for head, p in zip(self.heads, (p8, p16, p32), strict=True)]


def like(kernels: list[Tensor], times: int | None = None) -> FaceNet:
    """An untrained network with heads as wide as those of given kernels, which stand in the order in which a network
    runs them, and the rest as wide too, unless `times` says how wide."""
    towers = tuple(kernel.shape[1] for kernel in kernels[-5::2])  # heads come last: tower, answers, tower, ...
    times = times or (max(1, len(kernels[0]) // FINEST) if kernels else 1)
    return FaceNet(towers if len(towers) == len(STRIDES) else (), times)


def kernels_of(weights: dict[str, Tensor]) -> list[Tensor]:
    """The kernels among the weights of a network, in the order in which it runs them."""
    return [weight for weight in weights.values() if weight.ndim == 4]


def by_cell(maps: list[Tensor]) -> Tensor:
    """Maps (B, C, H/s, W/s) of all strides -> float32 (B, N, C), cells in the order of `detector_loss.grid`."""
    return torch.cat([m.float().permute(0, 2, 3, 1).flatten(1, 2) for m in maps], 1)


class YuNetContract(nn.Module):
    """Wraps a trained `FaceNet` for export: twelve outputs (1, cells, 1|1|4|10), scores after the sigmoid.

    The reshape is by constants, (1, -1, C), so one file serves every input size: OpenCV fails on `Shape` nodes.
    The input's scale moves into the first convolution, which saves a pass over the picture.
    """

    def __init__(self, net: FaceNet) -> None:
        super().__init__()
        self.net = copy.deepcopy(net)
        with torch.no_grad():
            next(self.net.stem.parameters()).mul_(INPUT_SCALE)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        # Channels are parted before they are turned, which OpenCV does faster than the other way round.
        out: dict[str, list[Tensor]] = {"cls": [], "obj": [], "bbox": [], "kps": []}
        for answers in self.net.answers(image):
            scores = answers[:, :2].sigmoid()
            out["cls"].append(scores[:, :1].reshape(1, -1, 1))
            out["obj"].append(scores[:, 1:].reshape(1, -1, 1))
            out["bbox"].append(answers[:, 2:6].permute(0, 2, 3, 1).reshape(1, -1, 4))
            out["kps"].append(answers[:, 6:].permute(0, 2, 3, 1).reshape(1, -1, 10))
        return tuple(part for head in out.values() for part in head)


def reshape(weights: dict[str, Tensor], times: int = 1) -> dict[str, Tensor]:
    """Weights of a `FaceNet` with heads of any widths, for heads of the usual ones. Of more channels those stay that
    the answers weigh most, the two scores counting four times ('Pruning Filters for Efficient ConvNets', 1608.08710);
    missing ones begin as in a new net."""
    out = dict(weights)
    new = FaceNet(times=times).state_dict()
    for i in range(len(STRIDES)):
        tower, answers = f"heads.{i}.tower.", f"heads.{i}.out.weight"
        width = new[answers].shape[1]
        weight = weights[answers][:, :, 0, 0].abs()
        weight = (weight.sum(0) + 3 * weight[:2].sum(0)) * weights[tower + "1.weight"].abs()
        keep = weight.argsort(descending=True)[:width].sort().values
        for name in weights:
            if name.startswith(tower) and weights[name].ndim:
                out[name] = torch.cat([weights[name][keep], new[name][len(keep) :]])
        out[answers] = torch.cat([weights[answers][:, keep], new[answers][:, len(keep) :]], 1)
    return out

"""Take channels out of the heads of a trained detector, so that it takes less time and answers as before."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from export.detector_net import TOWERS, FaceNet, Net

# How much a difference in scores, boxes and landmarks counts.
WORTH = torch.tensor([4.0] * 2 + [2.0] * 4 + [0.3] * 10, dtype=torch.float64)
RIDGE = 1e-6


@torch.no_grad()
def slim(net: Net, inputs: Iterable[Tensor]) -> Net:
    """The net with no more than `TOWERS` channels in each head; as it is where it has none to spare. One after another
    goes the channel that the others best make up for, and answers are fitted to what they were by least squares
    ('ThiNet', 1707.06342; 'Optimal Brain Surgeon', NIPS 1992). Cells count by their score, log-odds raised by 3, as
    nearly all are empty.

    inputs: batches of network input, to fit on.
    """
    had = net.towers()
    spare = [i for i, (count, most) in enumerate(zip(had, TOWERS, strict=True)) if count > most]
    if not isinstance(net, FaceNet) or not spare:
        return net
    # Sums of products of channels, and of channels and answers.
    products = {i: torch.zeros(had[i] + 1, had[i] + 1, dtype=torch.float64) for i in spare}
    told = {i: torch.zeros(had[i] + 1, len(WORTH), dtype=torch.float64) for i in spare}
    seen: list[Tensor] = []
    outs = [net.heads[i].get_submodule("out") for i in spare]
    hooks = [out.register_forward_pre_hook(lambda _, args: seen.append(with_one(args[0]))) for out in outs]
    training = net.training
    net.eval()
    for x in inputs:
        seen.clear()
        maps = net(x)
        for i, channels in zip(spare, seen, strict=True):
            answers = maps[i].permute(0, 2, 3, 1).flatten(0, 2).double()
            weighed = channels * (answers[:, :2].mean(1, keepdim=True) + 3).sigmoid()
            products[i] += weighed.T @ channels
            told[i] += weighed.T @ (answers * WORTH)
    for hook in hooks:
        hook.remove()
    weights = net.state_dict()
    for i in spare:
        left, fitted = choose(products[i], told[i], TOWERS[i])
        for name in weights:
            if name.startswith(f"heads.{i}.tower.1.") and weights[name].ndim:
                weights[name] = weights[name][left]
        weights[f"heads.{i}.out.weight"] = (fitted[:-1] / WORTH).T.float()[..., None, None]
        weights[f"heads.{i}.out.bias"] = (fitted[-1] / WORTH).float()
    slimmed = FaceNet(tuple(map(min, had, TOWERS)))
    slimmed.load_state_dict(weights)
    return slimmed.train(training)


def with_one(features: Tensor) -> Tensor:
    """Features (B, C, H, W) -> float64 (B * H * W, C + 1), the last of them 1, for the bias."""
    flat = features.permute(0, 2, 3, 1).flatten(0, 2).double()
    return nn.functional.pad(flat, (0, 1), value=1.0)


def choose(products: Tensor, told: Tensor, count: int) -> tuple[list[int], Tensor]:
    """Which `count` channels stay, and the weights (count + 1, 16) by which they and 1 give the answers best.

    products: (C + 1, C + 1) sums of products of channels and 1. told: (C + 1, 16) those of channels and answers.
    """
    one = len(products) - 1
    left = list(range(one))
    products = products + RIDGE * products.diagonal().mean() * torch.eye(one + 1, dtype=products.dtype)
    while True:
        some = [*left, one]
        inverse = torch.linalg.inv(products[some][:, some])
        fitted = inverse @ told[some]
        if len(left) <= count:
            return left, fitted
        # What the squared difference grows by without a channel, the others fitted anew.
        left.pop(int((fitted[:-1].square().sum(1) / inverse.diagonal()[:-1]).argmin()))

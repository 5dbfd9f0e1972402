"""Take channels out of the heads of a trained detector, so that it takes less time and answers as before."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from export.detector.net import TOWERS, FaceNet, Net

# How much a difference in scores, boxes and landmarks counts.
WORTH = torch.tensor([4.0] * 2 + [2.0] * 4 + [0.3] * 10)
RIDGE = 1e-6
EPOCHS, RATE, PICTURES = 60, 1e-3, 4  # of `mend`: passes, learning rate at the start, batches of input in a step
Example = tuple[Tensor, Tensor]  # features (B, C, H, W) that a head sees, and its answers (B, 16, H, W)


def slim(net: Net, inputs: Iterable[Tensor]) -> Net:
    """The net with no more than `TOWERS` channels in each head; as it is where it has none to spare. One after another
    goes the channel that the others best make up for, and answers are fitted to what they were by least squares
    ('ThiNet', 1707.06342; 'Optimal Brain Surgeon', NIPS 1992), then by `mend`.

    inputs: batches of network input, to fit on; what heads see of them is kept in memory.
    """
    had = net.towers()
    spare = [i for i, (count, most) in enumerate(zip(had, TOWERS, strict=True)) if count > most]
    if not isinstance(net, FaceNet) or not spare:
        return net
    training = net.training
    examples = look(net.eval(), inputs)
    weights = net.state_dict()
    for i in spare:
        left, out = choose(*products(net.heads[i].get_submodule("tower"), examples[i]), TOWERS[i])
        for name in weights:
            if name.startswith(f"heads.{i}.tower.1.") and weights[name].ndim:
                weights[name] = weights[name][left]
        weights[f"heads.{i}.out.weight"] = (out[:-1].T / WORTH[:, None]).float()[..., None, None]
        weights[f"heads.{i}.out.bias"] = (out[-1] / WORTH).float()
    slimmed = FaceNet(tuple(map(min, had, TOWERS))).eval()
    slimmed.load_state_dict(weights)
    for i in spare:
        mend(slimmed.heads[i], examples[i])
    return slimmed.train(training)


@torch.no_grad()
def look(net: Net, inputs: Iterable[Tensor]) -> list[list[Example]]:
    """What each head of the net sees, and says."""
    seen: list[Tensor] = []
    hooks = [head.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for head in net.heads]
    examples: list[list[Example]] = [[] for _ in net.heads]
    for x in inputs:
        seen.clear()
        for shown, features, answers in zip(examples, seen, net(x), strict=True):
            shown.append((features, answers))
    for hook in hooks:
        hook.remove()
    return examples


def weigh(answers: Tensor) -> Tensor:
    """What each cell counts (B, 1, H, W): its score, log-odds raised by 3, as nearly all are empty."""
    return (answers[:, :2].mean(1, keepdim=True) + 3).sigmoid()


@torch.no_grad()
def products(tower: nn.Module, examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Sums of products, by weight, of a head's channels and 1, (C + 1, C + 1), and of those and its answers by worth,
    (C + 1, 16)."""
    own, told = torch.zeros(()), torch.zeros(())
    for features, answers in examples:
        channels = nn.functional.pad(cells(tower(features)), (0, 1), value=1.0)
        weighed = (channels * cells(weigh(answers))).T
        own, told = own + weighed @ channels, told + weighed @ (cells(answers) * WORTH)
    return own, told


def mend(head: nn.Module, examples: list[Example]) -> None:
    """Train a head, all of it, to give the answers ('Distilling the Knowledge in a Neural Network', 1503.02531); it
    stays as it is where that comes no nearer."""

    def apart(some: Iterable[Example]) -> Tensor:
        errors = (((head(x) - y) * WORTH[:, None, None]).square() * weigh(y) for x, y in some)
        return torch.stack([error.sum() for error in errors]).sum()

    with torch.no_grad():
        before, weights = apart(examples), copy.deepcopy(head.state_dict())
    unit = sum(weigh(answers).sum() for _, answers in examples) / len(examples)
    optimizer = torch.optim.Adam(head.parameters(), RATE)
    steps = [part for _ in range(EPOCHS) for part in torch.split(torch.randperm(len(examples)), PICTURES)]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    for step in steps:
        optimizer.zero_grad()
        (apart(examples[at] for at in step.tolist()) / unit / len(step)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        if apart(examples) >= before:
            head.load_state_dict(weights)


def cells(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> float64 (B * H * W, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2).double()


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

"""Channels taken out of a detector's heads, against the net that had them."""

import pytest

from tests.workshop import leave, missing, trained

if reason := missing("torch"):
    leave(reason)

import torch

from export.detector.net import TOWERS, FaceNet, Net, PlainNet
from export.detector.slim import mend, slim

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


def test_channels_that_others_make_up_for_are_taken_out_and_answers_stay() -> None:
    torch.manual_seed(0)
    had = trained(FaceNet(tuple(tower + 8 for tower in TOWERS)), 0.3)
    weights = had.state_dict()
    for i in range(3):  # the last eight channels of each head see what the first eight see
        for name, weight in weights.items():
            if name.startswith(f"heads.{i}.tower.1.") and weight.ndim:
                weight[-8:] = weight[:8]
    before = had(IMAGES)
    slimmed = slim(had, [IMAGES])
    assert had.towers() == tuple(tower + 8 for tower in TOWERS)
    assert (slimmed.towers(), slimmed.training) == (TOWERS, False)
    for a, b in zip(slimmed(IMAGES), before, strict=True):
        torch.testing.assert_close(a, b, atol=0.02, rtol=0.02)


def test_the_channel_that_is_missed_least_is_taken_out() -> None:
    torch.manual_seed(0)
    had = trained(FaceNet((TOWERS[0], TOWERS[1] + 1, TOWERS[2])), 0.3)
    fine, middle, coarse = had(IMAGES)
    slimmed = slim(had, [IMAGES])(IMAGES)
    assert torch.equal(slimmed[0], fine)  # as that head has no channel to spare
    assert torch.equal(slimmed[2], coarse)
    lost = (slimmed[1] - middle).square().mean()
    silent = [(without(had, channel) - middle).square().mean() for channel in range(TOWERS[1] + 1)]
    assert lost < min(silent) + 1e-6
    assert max(silent) > 1e-3


def without(net: Net, channel: int) -> torch.Tensor:
    """What the middle head says when a channel is silent and no other makes up for it."""
    weights = {name: weight.clone() for name, weight in net.state_dict().items()}
    weights["heads.1.out.weight"][:, channel] = 0
    other = FaceNet(net.towers()).eval()
    other.load_state_dict(weights)
    middle: torch.Tensor = other(IMAGES)[1]
    return middle


def test_a_head_is_trained_to_say_what_another_said() -> None:
    torch.manual_seed(0)
    teacher, pupil = trained(FaceNet((TOWERS[0] + 8, *TOWERS[1:])), 0.3).heads[0], trained(FaceNet(), 0.3).heads[0]
    features = torch.randn(8, 1, 64, 8, 12)
    examples = [(x, teacher(x).detach()) for x in features]
    rest = torch.randn(8, 64, 8, 12)  # of which it has seen none
    before = (pupil(rest) - teacher(rest)).square().mean().detach()
    mend(pupil, examples)
    assert (pupil(rest) - teacher(rest)).square().mean() < 0.5 * before


def test_a_head_that_training_brings_no_nearer_stays_as_it_is() -> None:
    torch.manual_seed(0)
    head = trained(FaceNet(), 0.3).heads[0]
    weights = {name: weight.clone() for name, weight in head.state_dict().items()}
    mend(head, [(x, head(x).detach()) for x in torch.randn(8, 1, 64, 8, 12)])
    assert all(torch.equal(weight, weights[name]) for name, weight in head.state_dict().items())


@pytest.mark.parametrize("net", [FaceNet(), FaceNet((8, 8, 8)), PlainNet(times=2)])
def test_a_net_with_no_channel_to_spare_stays_as_it_is(net: Net) -> None:
    assert slim(net, []) is net

"""Channels taken out of a detector's heads, against the net that had them."""

import pytest

from tests.workshop import leave, missing, trained

if reason := missing("torch"):
    leave(reason)

import torch

from export.detector_net import TOWERS, FaceNet, Net, PlainNet
from export.detector_slim import slim

IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255


@torch.inference_mode()
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


@torch.inference_mode()
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


@pytest.mark.parametrize("net", [FaceNet(), FaceNet((8, 8, 8)), PlainNet(times=2)])
def test_a_net_with_no_channel_to_spare_stays_as_it_is(net: Net) -> None:
    assert slim(net, []) is net

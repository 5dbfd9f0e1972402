"""The detector's network: its maps, the contract of its export, and weights of an earlier shape or file."""

from pathlib import Path

import pytest

from tests.workshop import leave, missing, train_norms

if reason := missing("torch", "onnx"):
    leave(reason)

import torch

from export.common.from_onnx import load_onnx_weights
from export.common.training import save_checkpoint
from export.detector.net import (
    CLS_SHARES,
    INPUT_SCALE,
    OUTPUTS,
    STRIDES,
    FaceNet,
    Net,
    PlainNet,
    YuNetContract,
    kernels_of,
    net_like,
)
from export.detector.to_onnx import export_detector

NETS = [FaceNet(), FaceNet((48, 80, 72)), PlainNet(), PlainNet((48, 64, 32)), PlainNet(times=2)]


class TestNet:
    @pytest.mark.parametrize("net", NETS)
    def test_maps(self, net: Net) -> None:
        maps = net(torch.zeros(2, 3, 64, 96))
        assert [tuple(m.shape) for m in maps] == [(2, 16, 8, 12), (2, 16, 4, 6), (2, 16, 2, 3)]

    def test_every_layer_of_a_wide_net_is_as_many_times_as_wide(self) -> None:
        usual, wide = PlainNet().state_dict(), PlainNet(times=3).state_dict()
        kernels = [name for name, weight in usual.items() if weight.ndim == 4 and ".out." not in name]
        assert len(kernels) == 14
        assert all(len(wide[name]) == 3 * len(usual[name]) for name in kernels)

    @pytest.mark.parametrize("net", NETS)
    def test_weights_tell_the_class_and_widths_of_their_net(self, net: Net) -> None:
        again = net_like(kernels_of(net.state_dict()))
        assert type(again) is type(net)
        assert again.times == net.times
        assert [(k, v.shape) for k, v in again.state_dict().items()] == [
            (k, v.shape) for k, v in net.state_dict().items()
        ]

    def test_the_contract_gives_opencvs_twelve_outputs(self) -> None:
        net = FaceNet().eval()
        image = torch.rand(1, 3, 64, 96) * 255
        with torch.inference_mode():
            out = dict(zip(OUTPUTS, YuNetContract(net).eval()(image), strict=True))
            maps = net(image)
        channels = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
        for name, value in out.items():
            head, stride = name.split("_")
            assert tuple(value.shape) == (1, 64 // int(stride) * (96 // int(stride)), channels[head])
        assert torch.equal(out["bbox_16"][0, 4 * 1 + 3 + 2], maps[1][0, 2:6, 1, 3])  # row 1, column 3 of six
        for answers, share, stride in zip(maps, CLS_SHARES, STRIDES, strict=True):
            cls, obj = answers[0, :2].flatten(1)
            score = (share * cls + (1 - share) * obj).sigmoid()
            for head in ("cls", "obj"):
                torch.testing.assert_close(out[f"{head}_{stride}"][0, :, 0], score)


@pytest.mark.parametrize("of", [FaceNet, PlainNet])
def test_a_released_file_gives_back_a_net_that_can_be_trained_on(of: type[Net], tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained, again = of(), of().eval()
    train_norms(trained)
    for head in trained.heads:  # answers that differ
        torch.nn.init.normal_(head.out.weight, std=0.05)
        torch.nn.init.uniform_(head.out.bias, -1, 1)
    save_checkpoint(tmp_path / "checkpoint.pt", {"average": trained.state_dict()})
    export_detector(tmp_path / "checkpoint.pt", tmp_path / "model.onnx")
    pictures = torch.rand(8, 3, 128, 160) * 255
    load_onnx_weights(again, tmp_path / "model.onnx", [pictures[:4], pictures[4:]], INPUT_SCALE)
    with torch.inference_mode():
        for mode in (again.eval(), again.train()):
            for a, b in zip(mode(pictures), trained.eval()(pictures), strict=True):
                torch.testing.assert_close(a, b, atol=2e-3, rtol=2e-3)

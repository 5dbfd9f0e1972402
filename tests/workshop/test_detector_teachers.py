"""The soft targets of teachers, against the networks themselves."""

import pytest

from tests.workshop import leave, missing, red_scene, trained

if reason := missing("torch"):
    leave(reason)

from pathlib import Path

import torch
from torch import Tensor

from edge_app.errors import UsageError
from edge_app.inference.model import Model, models_dir
from export.detector.net import FaceNet, Net, PlainNet
from export.detector.teachers import Teachers, fuse_norms, mixup
from export.detector.to_onnx import export_detector
from export.detector.train import load_released, open_teacher, train

IMAGES = torch.randint(0, 256, (2, 3, 64, 96), generator=torch.Generator().manual_seed(0)).float()


def net(seed: int, times: int = 1) -> Net:
    torch.manual_seed(seed)
    return trained(FaceNet() if times == 1 else PlainNet(times=times))


@torch.no_grad()
def scores(of: Net, images: Tensor) -> list[Tensor]:
    return [m[:, :2] for m in of(images)]


def flat(maps: list[Tensor]) -> Tensor:
    return torch.cat([m.permute(0, 2, 3, 1).flatten(1, 2) for m in maps], 1)


def test_one_teacher_tells_its_scores_of_either_view() -> None:
    teacher = net(1)
    plain = flat(scores(teacher, IMAGES))
    mirrored = flat([m.flip(-1) for m in scores(teacher, IMAGES.flip(-1))])
    assert (plain - mirrored).abs().max() > 0.1
    teach = Teachers([fuse_norms(teacher)])
    torch.testing.assert_close(teach(IMAGES, 0), plain, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(teach(IMAGES, 1), mirrored, atol=1e-3, rtol=1e-3)


def test_two_teachers_share_a_batch_and_tell_their_mean_over_four() -> None:
    nets = [net(1), net(2)]
    views = [(flat(scores(n, IMAGES)), flat([m.flip(-1) for m in scores(n, IMAGES.flip(-1))])) for n in nets]
    teach = Teachers([fuse_norms(n) for n in nets])
    targets = [teach(IMAGES, turn) for turn in range(4)]
    torch.testing.assert_close(targets[0], torch.cat([views[0][0][:1], views[1][0][1:]]), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(targets[3], torch.cat([views[1][1][:1], views[0][1][1:]]), atol=1e-3, rtol=1e-3)
    mean = torch.stack([view for both in views for view in both]).mean(0)
    torch.testing.assert_close(torch.stack(targets).mean(0), mean, atol=1e-3, rtol=1e-3)


def test_more_teachers_than_windows_take_turns_too() -> None:
    nets = [net(seed) for seed in (1, 2, 3)]
    plain = [flat(scores(n, IMAGES[:1])) for n in nets]
    teach = Teachers([fuse_norms(n) for n in nets])
    for turn in range(3):
        torch.testing.assert_close(teach(IMAGES[:1], turn), plain[turn], atol=1e-3, rtol=1e-3)


def test_a_mixture_shows_one_picture_through_another_of_its_batch() -> None:
    torch.manual_seed(0)
    plain = torch.tensor([40, 90, 140, 240], dtype=torch.uint8)
    mixed = mixup(plain[:, None, None, None].expand(4, 3, 8, 8), 0.5)
    assert (mixed.dtype, mixed.shape) == (torch.uint8, (4, 3, 8, 8))
    assert (mixed == mixed[:, :1, :1, :1]).all()  # one share for a whole picture
    # What is laid over moves a picture at most half of the way to another one.
    moved = (mixed[:, 0, 0, 0].float() - plain.float()).abs()
    assert 0 < moved.max() <= 0.5 * 200


def test_teachers_tell_in_their_own_precision() -> None:
    teacher = fuse_norms(net(1))
    exact = Teachers([teacher])(IMAGES.to(torch.uint8), 0)
    coarse = Teachers([teacher.to(torch.bfloat16)])(IMAGES.to(torch.uint8), 0)
    assert coarse.dtype == torch.float32
    assert 0 < (coarse - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize("times", [1, 2])
def test_a_released_file_teaches_as_the_net_that_it_was_made_from(tmp_path: Path, times: int) -> None:
    teacher = net(3, times)
    torch.save({"average": teacher.state_dict()}, tmp_path / "checkpoint.pt")
    export_detector(tmp_path / "checkpoint.pt", tmp_path / "model.onnx")
    teach = Teachers([open_teacher(tmp_path / "model.onnx")])
    torch.testing.assert_close(teach(IMAGES, 0), flat(scores(teacher, IMAGES)), atol=1e-3, rtol=1e-3)


def test_the_teacher_that_is_kept_is_a_wide_net_and_its_file_the_one_in_its_manifest() -> None:
    folder = models_dir() / "face_detector" / "teacher"
    assert open_teacher(Model(folder).file("fp32")).times == 3


def test_what_is_no_detector_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    other = models_dir() / "mask_classifier" / "model.onnx"
    with pytest.raises(UsageError, match=r"model\.onnx: a network of another shape; .* of PlainNet"):
        train(tmp_path / "out", 0.01, teachers=[other])
    (tmp_path / "notes.txt").write_text("no network")
    with pytest.raises(UsageError, match=r"notes\.txt: not an ONNX file"):
        train(tmp_path / "out", 0.01, teachers=[tmp_path / "notes.txt"])
    with pytest.raises(UsageError, match=r"--device abacus: .*; expected cpu, or cuda beside a GPU"):
        train(tmp_path / "out", 0.01, device="abacus")
    with pytest.raises(UsageError, match=r"--mix: .*; expected --teacher ONNX with it"):
        train(tmp_path / "out", 0.01, mix=True)
    assert not (tmp_path / "out").exists()


def test_a_wider_net_does_not_begin_at_a_narrow_one(tmp_path: Path) -> None:
    file = models_dir() / "face_detector" / "model.onnx"
    with pytest.raises(UsageError, match=r"model\.onnx: a network of another shape; expected one of --times 2"):
        train(tmp_path, 0.01, sets=[(1.0, [red_scene()])], start=file, times=2)


@pytest.mark.parametrize("before", [PlainNet((48, 64, 32)), FaceNet((16, 64, 32))])
def test_a_net_that_begins_at_a_released_file_keeps_the_heads_it_has_there(tmp_path: Path, before: Net) -> None:
    trained(before)
    torch.save({"average": before.state_dict()}, tmp_path / "checkpoint.pt")
    export_detector(tmp_path / "checkpoint.pt", tmp_path / "model.onnx")
    after = load_released(tmp_path / "model.onnx", [(1.0, [red_scene()])], seed=0)
    assert (type(after), after.towers()) == (type(before), before.towers())
    for a, b in zip(before.heads, after.heads, strict=True):
        torch.testing.assert_close(a.out.weight, b.out.weight)

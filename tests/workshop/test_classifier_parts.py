"""The mask classifier's workshop without any real data: faces, augmentation, checkpoints, metrics, manifest, card."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics

from edge_app.inference.manifest import Manifest
from edge_app.inference.model import Model
from export.classifier import evaluate as measure
from export.classifier.augment import augment, jitter, rotate, truncate
from export.classifier.data import INCORRECT, MASK, NO_MASK, Face
from export.classifier.train import MaskNet
from export.common.manifest import entry, write_manifest
from export.common.muon import Muon
from export.common.training import load_checkpoint, save_checkpoint
from tests.tiny_models import CROPS

POINTS = np.array([[38, 50], [62, 50], [50, 62], [40, 75], [60, 75]], np.float32)  # of a face in a 100 px region
BOX = np.array([25, 25, 75, 90], np.float32)


def unknown(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def face(kind: int, seed: int = 0, known: bool = True) -> Face:
    pixels = np.random.default_rng(seed).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    seen, points = (BOX + 2, POINTS.copy()) if known else (unknown(4), unknown(5, 2))
    return Face(cv2.GaussianBlur(pixels, (0, 0), 3), BOX.copy(), seen, points, kind, "drawn")


# --- augmentation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MASK, NO_MASK, INCORRECT])
def test_a_view_is_a_crop_and_its_class_follows_the_rules(kind: int) -> None:
    rng, donor = np.random.default_rng(0), face(MASK, 9)
    original = face(kind)
    before = original.region.copy()
    targets = set()
    for i in range(120):
        crop, target = augment(original, donor if i % 2 else None, rng)
        assert crop.shape == (112, 112, 3)
        assert crop.dtype == np.uint8
        targets.add(target)
    assert targets == {MASK: {MASK}, NO_MASK: {MASK, NO_MASK}, INCORRECT: {NO_MASK}}[kind]
    np.testing.assert_array_equal(original.region, before)


def test_the_same_chance_gives_the_same_view() -> None:
    views = [augment(face(NO_MASK), face(MASK, 5), np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(views[0][0], views[1][0])
    assert views[0][1] == views[1][1]


def test_moved_boxes_stay_on_the_face_and_a_cut_keeps_the_mouth() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        region, box = truncate(*rotate(face(MASK).region, jitter(face(MASK), rng), rng), rng)
        assert box.shape == (4,)
        assert (box[2:] > box[:2]).all()
        assert min(region.shape[:2]) > 40
        centre = (box[:2] + box[2:]) / 2
        assert (centre > 0).all()
        assert (centre < region.shape[1::-1]).all()


# --- training -------------------------------------------------------------------------------------------------------


def _step(net: MaskNet, optimizer: Muon, x: torch.Tensor, target: torch.Tensor) -> float:
    torch.manual_seed(0)  # dropout
    loss = torch.nn.functional.cross_entropy(net(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_a_checkpoint_goes_on_with_the_same_next_step(tmp_path: Path) -> None:
    torch.manual_seed(1)
    x, target = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 0, 1])
    # Not below 8 channels: there oneDNN's AVX2 gradient of a 1x1 convolution writes past its buffer (torch 2.14), and
    # the process hangs or dies.
    net = MaskNet(8, 1).to(memory_format=torch.channels_last)
    optimizer = Muon(net, 1e-2, 0.01)
    _step(net, optimizer, x, target)
    save_checkpoint(tmp_path / "run" / "checkpoint.pt", {"net": net.state_dict(), "optimizer": optimizer.state_dict()})
    losses = [_step(net, optimizer, x, target) for _ in range(2)]

    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state is not None
    other = MaskNet(8, 1).to(memory_format=torch.channels_last)
    other.load_state_dict(state["net"])
    again = Muon(other, 1e-2, 0.01)
    again.load_state_dict(state["optimizer"])
    assert [_step(other, again, x, target) for _ in range(2)] == losses
    assert load_checkpoint(tmp_path / "none.pt") is None
    assert not list(tmp_path.rglob("*.partial"))


# --- measuring ------------------------------------------------------------------------------------------------------


def crops(labels: list[str], width: float = 40) -> measure.Crops:
    n = len(labels)
    return measure.Crops(np.zeros((n, 8, 8, 3), np.uint8), np.array(labels), np.array(["a"] * n), np.full(n, width))


def test_a_report_agrees_with_sklearn_on_many_faces() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["mask", "no_mask", "incorrect_mask"], 500)
    truth = labels == "mask"
    scores = np.clip(truth * 0.3 + rng.random(500) * 0.7, 0, 1)
    out = measure.report(crops(list(labels)), scores)
    assert out["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-4)
    assert out["no_mask"]["f1"] == pytest.approx(metrics.f1_score(~truth, scores < 0.5), abs=1e-4)


# --- manifest and card ----------------------------------------------------------------------------------------------


def rest(**more: object) -> dict[str, object]:
    return {
        "name": "tiny",
        "version": "1",
        "task": "mask_classification",
        "input": CROPS,
        "outputs": [{"name": "logits", "shape": ["batch", 2]}],
        "labels": ["mask", "no_mask"],
        "thresholds": {"mask": 0.7, "no_mask": 0.3},
        "metrics": {"val": {"n": 12, "roc_auc": 0.5}},
        "training": {"purpose": "Shows a card.", "data": ["drawn"], "command": "python -m x", "limits": ["all"]},
    } | more


def test_a_manifest_holds_the_files_as_they_are_and_the_card_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"abc")
    assert entry(tmp_path / "model.onnx")["sha256"].startswith("ba7816bf8f01cfea")  # of "abc", from FIPS 180
    written = write_manifest(tmp_path, {"fp32": "model.onnx"}, **rest())
    assert Model(tmp_path).manifest == written == Manifest.model_validate(written.model_dump())
    assert Model(tmp_path).file("fp32") == tmp_path / "model.onnx"
    card = (tmp_path / "MODEL_CARD.md").read_text()
    for part in ("# tiny 1", "Shows a card.", "roc_auc 0.5", "n 12", "python -m x", "- mask: 0.7", "ba7816bf8f01cfea"):
        assert part in card


def test_a_field_the_runtime_would_refuse_is_refused_here(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"abc")
    with pytest.raises(ValidationError, match="surprise"):
        write_manifest(tmp_path, {"fp32": "model.onnx"}, **rest(surprise=1))
    assert not (tmp_path / "manifest.json").exists()

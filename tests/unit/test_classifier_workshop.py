"""The mask classifier's workshop without any real data: faces, augmentation, checkpoints, metrics, manifest, card."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn import metrics

from edge_app.faces import crop_face
from edge_app.models import Manifest, Model
from export import evaluate_classifier as measure
from export.classifier import Batches, MaskNet
from export.classifier_augment import cut_by_frame, degrade, jitter, turn, vary
from export.classifier_data import INCORRECT, MASK, NO_MASK, Face, Faces, coco_faces, cut_region, store_faces
from export.classifier_wear import draw_chin_mask, draw_mask
from export.manifest import entry, write_manifest
from export.training import Budget, Curve, cosine_rate, follow, load_checkpoint, save_checkpoint

POINTS = np.array([[38, 50], [62, 50], [50, 62], [40, 75], [60, 75]], np.float32)  # of a face in a 100 px region
BOX = np.array([25, 25, 75, 90], np.float32)


def unknown(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def face(kind: int, seed: int = 0, known: bool = True) -> Face:
    pixels = np.random.default_rng(seed).integers(0, 255, (100, 100, 3)).astype(np.uint8)
    seen, points = (BOX + 2, POINTS.copy()) if known else (unknown(4), unknown(5, 2))
    return Face(cv2.GaussianBlur(pixels, (0, 0), 3), BOX.copy(), seen, points, kind, "drawn")


# --- faces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [[60, 40, 90, 80], [-8, 50, 22, 90], [176, 162, 206, 202]])
def test_a_crop_of_the_region_is_the_crop_of_the_picture(box: list[float]) -> None:
    image = np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    there = np.array(box, np.float32)
    stored = cut_region(image, there, unknown(4), unknown(5, 2), MASK, "drawn")
    np.testing.assert_array_equal(crop_face(stored.region, stored.box), crop_face(image, there))


def test_a_large_face_is_stored_smaller_with_its_boxes_and_points() -> None:
    image = np.zeros((800, 800, 3), np.uint8)
    stored = cut_region(image, BOX * 8, BOX * 8, POINTS * 8, MASK, "drawn")
    assert max(stored.region.shape) < 250
    scale = (stored.box[2] - stored.box[0]) / (BOX[2] - BOX[0])
    np.testing.assert_allclose(stored.seen, stored.box)
    np.testing.assert_allclose(stored.points - stored.box[:2], (POINTS - BOX[:2]) * scale, atol=0.5)


def test_stored_faces_come_back_as_they_were(tmp_path: Path) -> None:
    put = [face(MASK, 1), face(NO_MASK, 2, known=False), face(INCORRECT, 3)]
    put[1].region = put[1].region[:60, :80]
    got = store_faces(iter(put), tmp_path / "deep" / "faces")
    assert len(got) == 3
    for a, b in zip(put, (got[i] for i in range(3)), strict=True):
        np.testing.assert_array_equal(a.region, b.region)
        np.testing.assert_array_equal([*a.box, *a.seen, *a.points.flat], [*b.box, *b.seen, *b.points.flat])
        assert (a.kind, a.source) == (b.kind, b.source)


def test_coco_faces_leave_out_crowds_other_categories_and_tiny_faces(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
    note = {"image_id": 1, "bbox": [10, 10, 30, 40]}
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "source": "drawn"}, {"id": 2, "file_name": "gone.png"}],
        "categories": [{"id": i, "name": n} for i, n in enumerate(("mask", "no_mask", "incorrect_mask", "face"))],
        "annotations": [
            note | {"category_id": 0},
            note | {"category_id": 2, "iscrowd": 0},
            note | {"category_id": 0, "iscrowd": 1},
            note | {"category_id": 3},
            note | {"category_id": 1, "bbox": [10, 10, 9, 13]},
            note | {"category_id": 1, "image_id": 2},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    found = list(coco_faces(tmp_path / "coco.json", tmp_path, None))
    assert [(f.kind, f.source) for f in found] == [(MASK, "drawn"), (INCORRECT, "drawn")]


# --- augmentation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MASK, NO_MASK, INCORRECT])
def test_a_view_is_a_crop_and_its_class_follows_the_rules(kind: int) -> None:
    rng, donor = np.random.default_rng(0), face(MASK, 9)
    original = face(kind)
    before = original.region.copy()
    targets = set()
    for i in range(120):
        crop, target = vary(original, donor if i % 2 else None, rng)
        assert crop.shape == (112, 112, 3)
        assert crop.dtype == np.uint8
        targets.add(target)
    assert targets == {MASK: {MASK}, NO_MASK: {MASK, NO_MASK}, INCORRECT: {NO_MASK}}[kind]
    np.testing.assert_array_equal(original.region, before)


def test_the_same_chance_gives_the_same_view() -> None:
    views = [vary(face(NO_MASK), face(MASK, 5), np.random.default_rng(7)) for _ in range(2)]
    np.testing.assert_array_equal(views[0][0], views[1][0])
    assert views[0][1] == views[1][1]


def test_a_drawn_mask_covers_the_mouth_and_nose_and_never_the_eyes() -> None:
    for seed in range(20):
        worn = face(NO_MASK)
        bare = worn.region.astype(int)
        draw_mask(worn, None, np.random.default_rng(seed))
        changed = np.abs(worn.region - bare).sum(2)
        for x, y in POINTS[2:].astype(int):
            assert changed[y - 2 : y + 3, x - 2 : x + 3].any()
        assert not changed[48:52, 44:56].any()


def test_a_mask_on_the_chin_leaves_the_nose_free() -> None:
    for seed in range(20):
        worn = face(NO_MASK)
        bare = worn.region.astype(int)
        draw_chin_mask(worn, None, np.random.default_rng(seed))
        changed = np.abs(worn.region - bare).sum(2)
        x, y = POINTS[2].astype(int)
        assert not changed[y - 3 : y + 3, x - 3 : x + 4].any()
        assert changed[85:, 40:60].any()


def test_moved_boxes_stay_on_the_face_and_a_cut_keeps_the_mouth() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        region, box = cut_by_frame(*turn(face(MASK).region, jitter(face(MASK), rng), rng), rng)
        assert box.shape == (4,)
        assert (box[2:] > box[:2]).all()
        assert min(region.shape[:2]) > 40
        centre = (box[:2] + box[2:]) / 2
        assert (centre > 0).all()
        assert (centre < region.shape[1::-1]).all()


def test_degrading_keeps_size_and_type_and_does_not_touch_its_input() -> None:
    crop = face(MASK).region
    before = crop.copy()
    for seed in range(60):
        out = degrade(crop, np.random.default_rng(seed))
        assert out.shape == crop.shape
        assert out.dtype == np.uint8
    np.testing.assert_array_equal(crop, before)


def test_batches_hold_both_classes_and_follow_their_seed(tmp_path: Path) -> None:
    faces = store_faces((face(k, i) for i in range(3) for k in (MASK, NO_MASK, INCORRECT)), tmp_path / "faces")
    first = next(iter(Batches(faces, 32, seed=3)))
    again = next(iter(Batches(Faces(tmp_path / "faces"), 32, seed=3)))
    assert first[0].shape == (32, 3, 112, 112)
    assert first[0].dtype == torch.float32
    assert float(first[0].abs().max()) <= 1
    assert set(first[1].tolist()) == {MASK, NO_MASK}
    assert torch.equal(first[0], again[0])


# --- training -------------------------------------------------------------------------------------------------------


def _step(net: MaskNet, optimizer: torch.optim.Optimizer, x: torch.Tensor, target: torch.Tensor) -> float:
    torch.manual_seed(0)  # dropout
    loss = torch.nn.functional.cross_entropy(net(x), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_a_checkpoint_goes_on_with_the_same_next_step(tmp_path: Path) -> None:
    torch.manual_seed(1)
    x, target = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 0, 1])
    net = MaskNet(4, (1, 1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    _step(net, optimizer, x, target)
    save_checkpoint(tmp_path / "run" / "checkpoint.pt", {"net": net.state_dict(), "optimizer": optimizer.state_dict()})
    losses = [_step(net, optimizer, x, target) for _ in range(2)]

    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert state is not None
    other = MaskNet(4, (1, 1))
    other.load_state_dict(state["net"])
    again = torch.optim.AdamW(other.parameters(), lr=1e-2)
    again.load_state_dict(state["optimizer"])
    assert [_step(other, again, x, target) for _ in range(2)] == losses
    assert load_checkpoint(tmp_path / "none.pt") is None
    assert not list(tmp_path.rglob("*.partial"))


def test_the_rate_rises_then_falls_over_the_budget() -> None:
    rates = [cosine_rate(1.0, 0.1, f) for f in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0.01)
    assert Budget(1.0, spent=90).fraction == 1
    assert Budget(1.0, spent=30).fraction == pytest.approx(0.5, abs=0.05)


def test_the_average_moves_towards_the_net() -> None:
    net, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    before = average.weight.detach().clone()
    follow(average, net, 0.75)
    torch.testing.assert_close(average.weight, before * 0.75 + net.weight.detach() * 0.25)


def test_a_curve_survives_a_resume_and_is_drawn(tmp_path: Path) -> None:
    Curve(tmp_path / "curve.csv").add(minutes=1, loss=0.5)
    curve = Curve(tmp_path / "curve.csv")
    curve.add(minutes=2, loss=0.25, accuracy=0.9)
    assert (tmp_path / "curve.csv").read_text().splitlines() == ["minutes,loss,accuracy", "1,0.5,", "2,0.25,0.9"]
    curve.plot(tmp_path / "curve.png")
    assert cv2.imread(str(tmp_path / "curve.png")) is not None


# --- measuring ------------------------------------------------------------------------------------------------------


def crops(labels: list[str], width: float = 40) -> measure.Crops:
    n = len(labels)
    return measure.Crops(np.zeros((n, 8, 8, 3), np.uint8), np.array(labels), np.array(["a"] * n), np.full(n, width))


def test_a_report_by_hand() -> None:
    labels = ["mask", "mask", "mask", "no_mask", "no_mask", "incorrect_mask"]
    out = measure.report(crops(labels), np.array([0.9, 0.8, 0.4, 0.1, 0.7, 0.2]))
    assert out["n"] == 6
    assert out["accuracy"] == pytest.approx(4 / 6, abs=1e-4)
    assert out["mask"] == {"precision": 0.6667, "recall": 0.6667, "f1": 0.6667, "n": 3}
    assert out["no_mask"]["n"] == 3
    assert out["incorrect_mask flagged"] == {"share": 1.0, "n": 1}
    assert out["bare called mask"] == {"share": 0.5, "n": 2}
    assert out["roc_auc"] == pytest.approx(8 / 9, abs=1e-4)  # of nine pairs one is the wrong way round
    assert out["source a"]["n"] == out["width 32-64 px"]["n"] == 6


def test_a_report_agrees_with_sklearn_on_many_faces() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["mask", "no_mask", "incorrect_mask"], 500)
    truth = labels == "mask"
    scores = np.clip(truth * 0.3 + rng.random(500) * 0.7, 0, 1)
    out = measure.report(crops(list(labels)), scores)
    assert out["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-4)
    assert out["no_mask"]["f1"] == pytest.approx(metrics.f1_score(~truth, scores < 0.5), abs=1e-4)


def test_calibration_error_by_hand() -> None:
    # Four calls at confidence 0.8, three of them right: a gap of 0.05; four at 0.95, all right: a gap of 0.05.
    probability = np.array([0.8, 0.8, 0.8, 0.2, 0.95, 0.95, 0.05, 0.05])
    truth = np.array([1, 1, 0, 0, 1, 1, 0, 0], float)
    assert measure.expected_calibration_error(probability, truth) == pytest.approx(0.05)


def test_the_temperature_of_too_sure_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    truth = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(float)
    assert measure.fit_temperature(logits * 2.5, truth) == pytest.approx(2.5, rel=0.06)


def test_above_the_mask_bound_fewer_than_one_bare_face_in_a_hundred_lies() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["mask"] * 1000 + ["no_mask"] * 1000)
    scores = np.concatenate([rng.beta(8, 1, 1000), rng.beta(1, 6, 1000)])
    found = measure.bounds(scores, labels)
    assert 0.1 <= found["no_mask"] <= 0.4 < 0.6 <= found["mask"] <= 0.9
    assert (scores[1000:] >= found["mask"]).mean() <= 0.01
    assert (scores[:1000] <= found["no_mask"]).mean() <= 0.015


def test_faces_are_read_from_coco_and_from_folders(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((100, 100, 3), np.uint8))
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "source": "drawn"}],
        "categories": [{"id": 1, "name": "mask"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 40]},
            {"image_id": 1, "category_id": 1, "bbox": [10, 10, 19, 40]},
            {"image_id": 1, "category_id": 1, "bbox": [10, 10, 30, 40], "iscrowd": 1},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    found = measure.read_coco(tmp_path / "coco.json", tmp_path)
    assert found.crops.shape == (1, 112, 112, 3)
    assert found.widths.tolist() == [30]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no labelled face"):
        measure.read_folder(tmp_path / "empty", None)


# --- manifest and card ----------------------------------------------------------------------------------------------


def rest(**more: object) -> dict[str, object]:
    return {
        "name": "tiny",
        "version": "1",
        "task": "mask_classification",
        "input": {"name": "input", "shape": ["batch", 3, 112, 112], "colour": "RGB", "resize": "square"},
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

"""Classifier training data: regions, storage, drawn masks, views and batches; and the network's shape."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.workshop import Pixels, leave, missing, train_norms

if reason := missing("torch", "torchvision"):
    leave(reason)

import onnx
import torch

from edge_app.errors import UsageError
from edge_app.inference.model import models_dir
from edge_app.vision.crops import crop_face
from export.classifier.augment import augment, degrade
from export.classifier.data import (
    INCORRECT,
    MASK,
    NO_MASK,
    Face,
    Faces,
    Finder,
    coco_faces,
    cut_region,
    store_faces,
)
from export.classifier.hyperparameters import Hyperparameters
from export.classifier.paint import draw_chin_mask, draw_mask
from export.classifier.to_onnx import export_classifier
from export.classifier.train import Batches, MaskNet
from export.common.from_onnx import load_onnx_weights, origin

Array = npt.NDArray[np.float32]
UNKNOWN, NO_POINTS = np.full(4, np.nan, np.float32), np.full((5, 2), np.nan, np.float32)
POINTS = np.array([(45, 50), (75, 50), (60, 68), (48, 86), (72, 86)], np.float32)
NOSE, MOUTH, EYE = (68, 60), (86, 60), (50, 45)  # row, column


def face(kind: int, source: str = "a", seed: int = 0) -> Face:
    region = np.random.default_rng(seed).integers(60, 190, (130, 120, 3), np.uint8)
    return Face(region, np.array([30, 25, 90, 105], np.float32), UNKNOWN.copy(), POINTS.copy(), kind, source)


class TestRegion:
    @pytest.mark.parametrize("box", [(200, 80, 250, 140), (0, 0, 60, 60), (452, 452, 512, 512), (-10, 200, 50, 260)])
    def test_its_crop_is_what_the_runtime_would_cut(self, astronaut: Pixels, box: tuple[int, ...]) -> None:
        at = np.array(box, np.float32)
        kept = cut_region(astronaut, at, UNKNOWN, NO_POINTS, MASK, "a")
        assert kept.region.size < astronaut.size / 4
        assert np.array_equal(crop_face(kept.region, kept.box), crop_face(astronaut, at))

    def test_a_large_face_is_shrunk_and_everything_moves_along(self, astronaut: Pixels) -> None:
        box, points = np.array([140, 60, 340, 260], np.float32), POINTS + 120
        kept = cut_region(astronaut, box, box + 10, points, NO_MASK, "a")
        difference = np.abs(crop_face(kept.region, kept.box).astype(int) - crop_face(astronaut, box))
        assert difference.mean() < 6
        assert max(kept.region.shape) < 250
        scale = (kept.box[2] - kept.box[0]) / 200
        assert scale == pytest.approx(124 / 260, rel=0.02)
        assert kept.seen - kept.box == pytest.approx(np.full(4, 10 * scale), rel=0.02)
        assert (kept.points - kept.box[:2]) / scale == pytest.approx(points - box[:2], abs=1)
        spot = kept.points[2].round().astype(int)
        assert np.abs(kept.region[spot[1], spot[0]].astype(int) - astronaut[188, 180]).max() < 40


class TestStore:
    def test_there_and_back(self, tmp_path: Path) -> None:
        given = [face(MASK), face(INCORRECT, "bb", 1), face(NO_MASK, "a", 2)]
        given[1].region = given[1].region[:77, :51].copy()
        given[1].points = NO_POINTS
        store_faces(iter(given), tmp_path / "run" / "faces")
        found = Faces(tmp_path / "run" / "faces")
        assert len(found) == 3
        for i, want in enumerate(given):
            got = found[i]
            assert np.array_equal(got.region, want.region)
            assert np.array_equal(got.box, want.box)
            assert np.array_equal(got.seen, want.seen, equal_nan=True)
            assert np.array_equal(got.points, want.points, equal_nan=True)
            assert (got.kind, got.source) == (want.kind, want.source)
        found[0].region[:] = 0
        assert np.array_equal(found[0].region, given[0].region)  # a reader gets its own copy

    def test_from_coco(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), face(MASK).region)
        rows = [(1, [10, 10, 40, 50], 0), (2, [20, 20, 30, 30], 1), (2, [60, 20, 13, 13], 0), (3, [30, 30, 50, 50], 0)]
        rows.append((4, [5, 5, 30, 30], 0))
        coco = {
            "images": [{"id": 1, "file_name": "a.png", "source": "s"}, {"id": 2, "file_name": "gone.png"}],
            "categories": [
                {"id": i, "name": n} for i, n in enumerate(["mask", "no_mask", "incorrect_mask", "hat"], start=1)
            ],
            "annotations": [{"image_id": 1, "category_id": c, "bbox": box, "iscrowd": crowd} for c, box, crowd in rows],
        }
        (tmp_path / "c.json").write_text(json.dumps(coco))
        found = list(coco_faces(tmp_path / "c.json", tmp_path, Finder()))
        assert [(f.kind, f.source) for f in found] == [(MASK, "s"), (INCORRECT, "s")]  # no crowd, no tiny, no hat


class TestWear:
    @pytest.mark.parametrize("known", [True, False])
    def test_a_mask_covers_nose_and_mouth_and_not_the_eyes(self, known: bool) -> None:
        covered = []
        for seed in range(20):
            one, before = face(NO_MASK), face(NO_MASK).region
            if not known:
                one.points = NO_POINTS
            draw_mask(one, face(MASK, seed=9), np.random.default_rng(seed))
            changed = (one.region != before).any(2)
            covered.append((changed[NOSE], changed[MOUTH]))
            assert not changed[EYE]
            assert not changed[:40].any()
        assert np.mean(covered) > 0.9

    def test_a_chin_mask_leaves_the_nose_out(self) -> None:
        covered = []
        for seed in range(20):
            one, before = face(NO_MASK), face(NO_MASK).region
            draw_chin_mask(one, face(MASK, seed=9), np.random.default_rng(seed))
            changed = (one.region != before).any(2)
            assert not changed[NOSE]
            assert not changed[EYE]
            covered.append(changed[100, 60])  # the chin
        assert np.mean(covered) > 0.9


class TestVary:
    @pytest.mark.parametrize(("kind", "target"), [(MASK, MASK), (INCORRECT, NO_MASK)])
    def test_what_is_worn_keeps_its_class(self, kind: int, target: int) -> None:
        given, rng = face(kind), np.random.default_rng(0)
        for _ in range(40):
            crop, found = augment(given, None, rng)
            assert (crop.shape, crop.dtype, found) == ((112, 112, 3), np.uint8, target)
        assert np.array_equal(given.region, face(kind).region)

    def test_some_bare_faces_get_a_mask_and_its_class(self) -> None:
        rng = np.random.default_rng(0)
        found = [augment(face(NO_MASK), face(MASK, seed=9), rng)[1] for _ in range(300)]
        assert 0.08 < np.mean([kind == MASK for kind in found]) < 0.22

    @pytest.mark.parametrize(("mask", "chin", "target"), [(1.0, 0.0, MASK), (0.0, 1.0, NO_MASK), (0.0, 0.0, NO_MASK)])
    def test_a_drawn_mask_changes_the_class_and_a_chin_mask_does_not(
        self, mask: float, chin: float, target: int
    ) -> None:
        hp, rng = Hyperparameters(synthetic_masks=mask, chin_masks=chin), np.random.default_rng(0)
        assert {augment(face(NO_MASK), None, rng, hp)[1] for _ in range(40)} == {target}

    def test_a_face_of_which_only_the_box_is_known(self) -> None:
        given, rng = face(NO_MASK), np.random.default_rng(0)
        given.points = NO_POINTS
        assert {augment(given, None, rng)[0].shape for _ in range(60)} == {(112, 112, 3)}

    def test_cameras_spoil_the_picture_but_not_its_form(self, astronaut: Pixels) -> None:
        crop = crop_face(astronaut, np.array([180, 70, 264, 180], np.float32))
        worn = [degrade(crop.copy(), np.random.default_rng(seed)) for seed in range(40)]
        assert {(w.shape, w.dtype.name) for w in worn} == {((112, 112, 3), "uint8")}
        assert sum(np.array_equal(w, crop) for w in worn) < 10


class TestBatches:
    @pytest.fixture
    def faces(self, tmp_path: Path) -> Faces:
        rows = [(MASK, "big")] * 9 + [(MASK, "small")] + [(NO_MASK, "big")] * 5 + [(INCORRECT, "small")]
        return store_faces((face(k, s, i) for i, (k, s) in enumerate(rows)), tmp_path / "faces")

    def test_both_classes_have_about_the_same_share(self, faces: Faces) -> None:
        x, target = next(iter(Batches(faces, 0, Hyperparameters(batch=300))))
        assert (tuple(x.shape), x.dtype, target.dtype) == ((300, 3, 112, 112), torch.float32, torch.float32)
        assert -1 <= float(x.min()) < -0.5 < 0.5 < float(x.max()) <= 1
        assert {tuple(row) for row in target.tolist()} == {(1, 0), (0, 1)}
        assert 0.42 < float(target[:, MASK].mean()) < 0.62

    def test_a_small_source_is_drawn_more_often_than_its_size_says(self, faces: Faces) -> None:
        batches, rng = Batches(faces, 0, Hyperparameters(batch=4)), np.random.default_rng(0)
        picks = [batches.pick(MASK, rng) for _ in range(600)]
        assert np.mean([i == 9 for i in picks]) == pytest.approx(1 / 4, abs=0.06)  # sqrt(1) of sqrt(9) + sqrt(1)

    def test_a_seed_gives_the_same_batches(self, faces: Faces) -> None:
        (a, ta), (b, tb), (c, _) = (next(iter(Batches(faces, seed, Hyperparameters(batch=8)))) for seed in (1, 1, 2))
        assert torch.equal(a, b)
        assert torch.equal(ta, tb)
        assert not torch.equal(a, c)

    def test_a_teacher_has_its_share_of_each_target(self, faces: Faces, tmp_path: Path) -> None:
        net = MaskNet(8).eval()
        export_classifier(net, tmp_path / "teacher.onnx", 112)
        x, plain = next(iter(Batches(faces, 1, Hyperparameters(batch=8))))
        same, target = next(iter(Batches(faces, 1, Hyperparameters(batch=8), teachers=[tmp_path / "teacher.onnx"])))
        assert torch.equal(x, same)
        with torch.inference_mode():
            said = net(x).softmax(1)
        torch.testing.assert_close(target, 0.3 * plain + 0.7 * said, atol=1e-4, rtol=0)

    def test_a_class_may_be_absent(self, tmp_path: Path) -> None:
        only = store_faces(iter([face(NO_MASK)]), tmp_path / "faces")
        assert len(next(iter(Batches(only, 0, Hyperparameters(batch=8))))[1]) == 8


class TestFromOnnx:
    @pytest.fixture
    def trained(self) -> MaskNet:
        """A net whose batch norms are far from where they begin."""
        torch.manual_seed(3)
        net = MaskNet(8)
        train_norms(net)
        return net.eval()

    def test_the_same_function_and_nearly_so_while_training(self, trained: MaskNet, tmp_path: Path) -> None:
        export_classifier(trained, tmp_path / "model.onnx", 112)
        x, again = torch.rand(64, 3, 112, 112) * 2 - 1, MaskNet(8).eval()
        load_onnx_weights(again, tmp_path / "model.onnx", [x[:32], x[32:]])
        with torch.inference_mode():
            torch.testing.assert_close(again(x), trained(x), atol=1e-3, rtol=1e-3)
            again.train()
            again.head[2].eval()  # dropout
            torch.testing.assert_close(again(x), trained(x), atol=2e-2, rtol=2e-2)

    def test_another_shape_and_no_onnx_file_are_refused(self, trained: MaskNet, tmp_path: Path) -> None:
        export_classifier(trained, tmp_path / "model.onnx", 112)
        (tmp_path / "text.onnx").write_text("no network")
        for file, net in (("model.onnx", MaskNet(16)), ("text.onnx", MaskNet(8)), ("gone.onnx", MaskNet(8))):
            with pytest.raises(UsageError, match=file):
                load_onnx_weights(net, tmp_path / file, [])

    def test_what_a_file_is(self, trained: MaskNet, tmp_path: Path) -> None:
        export_classifier(trained, tmp_path / "model.onnx", 112)
        assert origin(tmp_path / "model.onnx") == "model.onnx"
        assert origin(models_dir() / "mask_classifier" / "model.onnx").startswith("model.onnx of version ")
        says = onnx.load(tmp_path / "model.onnx")
        says.doc_string = "a teacher"
        onnx.save(says, tmp_path / "model.onnx")
        assert origin(tmp_path / "model.onnx") == "a teacher"


class TestNet:
    @pytest.mark.parametrize("size", [64, 112])
    def test_shapes(self, size: int) -> None:
        net = MaskNet(8).eval()
        with torch.inference_mode():
            assert tuple(net(torch.zeros(3, 3, size, size)).shape) == (3, 2)
            stem = net.stem(torch.zeros(1, 3, 112, 112))
            assert tuple(stem.shape) == (1, 8, 28, 28)
            assert tuple(net.blocks(stem).shape) == (1, 64, 4, 4)

    def test_each_block_starts_as_the_identity(self) -> None:
        net = MaskNet(8).eval()
        x = torch.rand(2, 8, 12, 12)
        assert torch.allclose(net.blocks[0](x), x)

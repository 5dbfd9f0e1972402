"""The whole workshop on a tiny scale: train, resume, export, quantize, measure, and the runtime opens the result."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from edge_app.config.settings import ClassifierSettings, DetectorSettings
from edge_app.errors import ModelError, UsageError
from edge_app.inference.model import Model
from edge_app.inference.ort import onnxruntime as ort
from edge_app.vision.classifier import MaskClassifier
from edge_app.vision.crops import crop_face, to_network_input
from edge_app.vision.detector import open_detector
from export.classifier import evaluate as measure
from export.classifier.data import MASK, NO_MASK, Face, Faces, cut_region, store_faces
from export.classifier.hyperparameters import TEACHER, Hyperparameters
from export.classifier.paint import draw_mask
from export.classifier.release import build_classifier
from export.classifier.teacher import train as train_teacher
from export.classifier.train import load, train
from export.common.training import Curve, load_checkpoint
from tests.workshop import StepClock, first_kernel

SMALL = Hyperparameters(batch=16)

BOX = np.array([175, 65, 275, 190], np.float32)  # of the astronaut's face
POINTS = np.array([[205, 115], [247, 112], [228, 135], [211, 158], [246, 156]], np.float32)


def views(portrait: npt.NDArray[np.uint8], count: int, seed: int) -> list[Face]:
    """The one face in many lights and places; every other one wears a drawn mask."""
    rng = np.random.default_rng(seed)
    faces = []
    for i in range(count):
        light = np.clip(portrait * rng.uniform(0.5, 1.3, 3), 0, 255).astype(np.uint8)
        box = BOX + np.tile(rng.normal(0, 4, 2), 2).astype(np.float32)
        face = cut_region(light, box, box, POINTS, MASK if i % 2 else NO_MASK, "drawn")
        if i % 2:
            draw_mask(face, None, rng)
        faces.append(face)
    return faces


def as_crops(faces: list[Face]) -> measure.Crops:
    return measure.Crops(
        np.stack([crop_face(f.region, f.box) for f in faces]),
        np.array(["mask" if f.kind == MASK else "no_mask" for f in faces]),
        np.array([f.source for f in faces]),
        np.full(len(faces), 100.0),
    )


@pytest.fixture(scope="module")
def run(astronaut: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of some seconds, stopped once and resumed."""
    out = tmp_path_factory.mktemp("run")
    faces = store_faces(iter(views(astronaut, 40, seed=0)), out / "faces")
    checkpoint = train(out, 3 / 60, seed=0, threads=1, faces=faces, width=8, hyperparameters=SMALL, clock=StepClock())
    first = load_checkpoint(checkpoint)
    assert first is not None
    train(out, 1.5, seed=0, threads=1, faces=faces, clock=StepClock())
    second = load_checkpoint(checkpoint)
    assert second is not None
    # A resumed run keeps the network and the hyperparameters it began with.
    assert (second["width"], second["hyperparameters"]["batch"]) == (8, 16)
    assert second["step"] > first["step"] > 0
    assert second["spent"] > first["spent"]
    return out


@pytest.fixture(scope="module")
def folder(run: Path, astronaut: npt.NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mask_classifier"
    build_classifier(run, folder, Faces(run / "faces"), as_crops(views(astronaut, 60, seed=1)), "drawn views", "t")
    return folder


def test_the_curve_has_both_runs_and_the_loss_falls(run: Path) -> None:
    rows = Curve(run / "curve.csv").rows()
    assert len(rows) == 2
    assert float(rows[1]["minutes"]) > float(rows[0]["minutes"])
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert (run / "curve.png").stat().st_size > 0


def test_the_model_folder_is_whole_and_both_precisions_agree(folder: Path, astronaut: npt.NDArray[np.uint8]) -> None:
    crops = as_crops(views(astronaut, 40, seed=2))
    full, small = (measure.probabilities(folder, precision, crops.crops) for precision in ("fp32", "int8"))
    assert np.abs(full - small).mean() < 0.05
    assert np.ptp(full) > 0.01  # it does look at the picture
    manifest = Model(folder).manifest
    assert manifest.labels == ["mask", "no_mask"]
    assert 0 < manifest.thresholds["no_mask"] < manifest.thresholds["mask"] < 1
    for precision in ("fp32", "int8"):
        assert manifest.metrics[f"drawn views, {precision}"]["n"] == 60
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "plots/roc.png" in card
    assert {p.name for p in (folder / "plots").iterdir()} == {
        "confusion.png", "precision_recall.png", "reliability.png", "roc.png", "training.png",
    }  # fmt: skip


@pytest.fixture(scope="module")
def pupil(run: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of one step that goes on from the released file, with a teacher of a few steps."""
    out, faces = tmp_path_factory.mktemp("pupil"), Faces(run / "faces")
    teacher = train_teacher(out / "teacher", 0.1, threads=1, faces=faces, hyperparameters=replace(TEACHER, batch=16))
    start = folder / "model.onnx"
    train(out, 0.002, 1, 1, faces=faces, width=8, hyperparameters=SMALL, start=start, teachers=[teacher])
    return out


def test_a_pupil_begins_where_the_released_file_stands(pupil: Path, folder: Path) -> None:
    state = load_checkpoint(pupil / "checkpoint.pt")
    assert state is not None
    assert state["net"]["stem.1.num_batches_tracked"] == state["step"] > 0  # its batch norms learn too
    released = first_kernel(folder / "model.onnx")
    np.testing.assert_allclose(load(pupil / "checkpoint.pt").stem[0].weight.detach(), released, atol=0.01)
    assert np.abs(released).max() > 0.05  # kernels of another seed would differ by more


def test_the_card_says_what_a_pupil_learnt_from(
    pupil: Path, run: Path, astronaut: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    build_classifier(pupil, tmp_path, Faces(run / "faces"), as_crops(views(astronaut, 40, seed=1)), "drawn views", "p")
    card = (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "weights at the start: model.onnx of version t" in card
    assert "ImageNet" in card
    assert "--start models/mask_classifier/model.onnx --teacher runs/teacher/teacher.onnx" in card


def test_a_file_that_is_no_teacher_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher.onnx").write_text("no network")
    with pytest.raises(UsageError, match=r"teacher\.onnx: not a teacher .*train-teacher"):
        train(tmp_path / "out", 0.05, faces=Faces(run / "faces"), teachers=[tmp_path / "teacher.onnx"])
    assert not (tmp_path / "out").exists()


def test_torch_and_onnxruntime_agree_for_any_batch(run: Path, folder: Path) -> None:
    net = load(run / "checkpoint.pt")
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for n in (1, 3, 7):
        x = to_network_input(rng.integers(0, 255, (n, 112, 112, 3)).astype(np.uint8))
        with torch.inference_mode():
            expected = net(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"input": x})[0], expected, atol=1e-4)


def test_the_int8_file_is_quantized_per_channel_and_smaller(folder: Path) -> None:
    graph = onnx.load(folder / "model.int8.onnx").graph
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    producers = {output: node for node in graph.node for output in node.output}
    tensors = {t.name: t for t in graph.initializer}
    assert convolutions
    for node in convolutions:
        weight = producers[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        assert len(onnx.numpy_helper.to_array(tensors[weight.input[1]])) > 1  # one scale a channel
    assert (folder / "model.int8.onnx").stat().st_size < 0.5 * (folder / "model.onnx").stat().st_size


def test_an_altered_file_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in ("manifest.json", "model.onnx", "model.int8.onnx"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    data = bytearray((tmp_path / "model.int8.onnx").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.int8.onnx").write_bytes(data)
    MaskClassifier(ClassifierSettings(model=tmp_path, precision="fp32", stage="beta"))
    with pytest.raises(ModelError, match="SHA-256"):
        MaskClassifier(ClassifierSettings(model=tmp_path, precision="int8", stage="beta"))


def test_evaluate_prints_json_for_coco_and_for_a_labelled_folder(
    folder: Path, astronaut: npt.NDArray[np.uint8], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from export.__main__ import app

    (tmp_path / "images").mkdir()
    images, notes = [], []
    for i, face in enumerate(views(astronaut, 6, seed=3)):
        cv2.imwrite(str(tmp_path / "images" / f"{i}.png"), face.region)
        images.append({"id": i, "file_name": f"{i}.png", "source": "drawn"})
        x0, y0, x1, y1 = face.box.tolist()
        notes.append({"image_id": i, "category_id": face.kind, "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0})
    categories = [{"id": MASK, "name": "mask"}, {"id": NO_MASK, "name": "no_mask"}]
    coco = {"images": images, "annotations": notes, "categories": categories}
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    arguments = ["evaluate", "mask_classifier", "--data", str(tmp_path / "coco.json"), "--folder", str(folder)]
    app([*arguments, "--plots", str(tmp_path / "plots"), "--mistakes", str(tmp_path)], standalone_mode=False)
    printed = capsys.readouterr()
    out = json.loads(printed.out)
    assert ("not to be published" in printed.err) == (out["int8"]["accuracy"] < 1 or out["fp32"]["accuracy"] < 1)
    assert out["int8"]["n"] == out["fp32"]["n"] == 6
    assert out["int8"]["source drawn"]["n"] == 6
    assert set(out["ms a face, one thread"]) == {"fp32", "int8"}
    assert (tmp_path / "plots" / "int8" / "reliability.png").is_file()
    with pytest.raises(Exception, match="no such file"):
        app(["evaluate", "mask_classifier", "--data", str(tmp_path / "gone.json")], standalone_mode=False)


# --- the model that is released -------------------------------------------------------------------------------------


def test_the_released_classifier_tells_the_portrait_bare_and_masked(models: Path) -> None:
    from edge_app.capture.demo import portrait

    detector, classifier = open_detector(DetectorSettings()), MaskClassifier(ClassifierSettings())
    for masked in (False, True):
        image = portrait(masked)
        detections = detector.detect(image)
        classifier.classify(image, detections)
        (score,) = detections.data["mask_probability"]
        assert score > classifier.mask_threshold if masked else score < classifier.no_mask_threshold


def test_the_released_classifier_holds_its_figures_on_val(models: Path, shared: Path) -> None:
    scenes = shared / "data" / "scenes"
    faces = measure.read_coco(scenes / "val.json", scenes / "images")
    stated = Model(models / "mask_classifier").manifest.metrics
    for precision in ("fp32", "int8"):
        found = measure.report(faces, measure.probabilities(models / "mask_classifier", precision, faces.crops))
        (told,) = [v for k, v in stated.items() if k.endswith(f", {precision}")]
        assert found["n"] == told["n"]
        assert found["roc_auc"] == pytest.approx(told["roc_auc"], abs=0.002)
        assert found["roc_auc"] >= 0.975

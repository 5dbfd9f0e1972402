"""Train both networks for seconds on a few pictures of one person, bare and masked, and run what comes out."""

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.tiny_models import FRAMES
from tests.workshop import Pixels, StepClock, first_kernel, leave, missing

if reason := missing("torch", "torchvision", "onnx", "sklearn", "matplotlib", "onnxruntime.quantization"):
    leave(reason)

import torch

from edge_app.capture import demo
from edge_app.config.settings import ClassifierSettings, DetectorSettings
from edge_app.inference.model import Model
from edge_app.vision.classifier import MaskClassifier
from edge_app.vision.detector import ENGINES, open_detector
from export.classifier import evaluate as evaluate_classifier
from export.classifier import train as classifier
from export.classifier.data import MASK, NO_MASK, Faces, Finder, coco_faces, store_faces
from export.classifier.hyperparameters import Hyperparameters as ForClassifier
from export.classifier.release import build_classifier
from export.classifier.to_onnx import export_classifier
from export.common.from_onnx import origin
from export.common.manifest import write_manifest
from export.common.training import Curve, load_checkpoint, save_checkpoint
from export.detector import train as detector
from export.detector.batches import Batches
from export.detector.data import FACE
from export.detector.hyperparameters import Hyperparameters
from export.detector.loss import grid, loss
from export.detector.net import INPUT_SCALE, OUTPUTS, FaceNet, Net, PlainNet
from export.detector.release import release_detector
from export.detector.scene import Scene
from export.detector.to_onnx import export_detector

# Batches come from a forked process.
pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

FACE_BOX = np.array([118, 66, 208, 178], np.float32)  # in `demo.portrait`
CATEGORIES = [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """The same on every machine, and no pool of threads that a forked process would wait for."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def street(masked: bool, rng: np.random.Generator) -> tuple[Pixels, npt.NDArray[np.float32]]:
    """A 480x360 picture with the person somewhere at some size, and the face's box."""
    person, scale = demo.portrait(masked), float(rng.uniform(0.6, 1.1))
    small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = np.empty((360, 480, 3), np.uint8)
    image[:] = rng.integers(60, 200, 3, np.uint8)
    x, y = int(rng.integers(0, 480 - small.shape[1])), int(rng.integers(0, 360 - small.shape[0]))
    image[y : y + small.shape[0], x : x + small.shape[1]] = small
    return image, FACE_BOX * scale + np.array([x, y, x, y], np.float32)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, astronaut: Pixels) -> Path:
    """A shared folder of synthetic scenes in COCO form: 12 to train on, 8 others to measure on."""
    folder, rng = tmp_path_factory.mktemp("world"), np.random.default_rng(0)
    scenes = folder / "data" / "scenes"
    (scenes / "images").mkdir(parents=True)
    for split, count in (("train", 12), ("val", 8)):
        images, notes = [], []
        for i in range(count):
            image, (x0, y0, x1, y1) = street(masked=i % 2 == 0, rng=rng)
            name = f"{split}{i}.jpg"
            cv2.imwrite(str(scenes / "images" / name), image)
            images.append({"id": i, "file_name": name, "source": "demo"})
            bbox = [float(v) for v in (x0, y0, x1 - x0, y1 - y0)]
            notes.append({"image_id": i, "category_id": 1 + i % 2, "bbox": bbox})
        coco = {"images": images, "categories": CATEGORIES, "annotations": notes}
        (scenes / f"{split}.json").write_text(json.dumps(coco))
    return folder


def detector_scenes(world: Path) -> list[Scene]:
    coco = json.loads((world / "data" / "scenes" / "train.json").read_text())
    made = []
    for entry, note in zip(coco["images"], coco["annotations"], strict=True):
        x, y, w, h = note["bbox"]
        points = np.array([(0.3, 0.38), (0.7, 0.38), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)]) * [w, h] + [x, y]
        made.append(
            Scene(
                entry["file_name"],
                np.fromfile(world / "data" / "scenes" / "images" / entry["file_name"], np.uint8),
                np.array([[x, y, x + w, y + h]], np.float32),
                np.array([FACE]),
                points[None].astype(np.float32),
                np.array([note["category_id"] == 2]),
            )
        )
    return made


def cost(weights: dict[str, torch.Tensor], sets: list[tuple[float, list[Scene]]]) -> float:
    """What one fixed batch costs a detector."""
    net = FaceNet()
    net.load_state_dict(weights)
    batch = detector.collate(next(iter(Batches(sets, 99, Hyperparameters(batch=8)))))
    images = batch.pop("images").float()
    with torch.no_grad():
        raw = detector.flatten_maps(net(images))
        cells = grid((images.shape[2], images.shape[3]), raw.device)
        return float(torch.stack(list(loss(raw, cells, **batch).values())).sum())


def detector_folder(folder: Path) -> Model:
    """A model folder around `model.onnx`."""
    write_manifest(
        folder,
        {"fp32": "model.onnx"},
        name="face_detector",
        version="0",
        task="face_detection",
        input=FRAMES,
        outputs=[
            {"name": name, "shape": [1, "cells", {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}[name.split("_")[0]]]}
            for name in OUTPUTS
        ],
        labels=["face"],
        thresholds={"score@320": 0.5},
        metrics={},
        training={"purpose": "A test.", "limits": []},
    )
    return Model(folder)


def test_a_detector_trains_resumes_and_is_released(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_APP_SHARED", str(world))
    small = Hyperparameters(batch=4)
    sets = [(1.0, detector_scenes(world))]
    run, folder = tmp_path / "run", tmp_path / "model"
    path = detector.train(run, 6 / 60, threads=1, sets=sets, hyperparameters=small, clock=StepClock())
    first = load_checkpoint(path)
    assert detector.train(run, 12 / 60, threads=1, sets=sets, clock=StepClock()) == path
    second = load_checkpoint(path)
    assert first is not None
    assert second is not None
    assert 0 < first["step"] < second["step"]
    assert 6 <= first["spent"] < 12 <= second["spent"]
    a, b = Curve(run / "curve.csv").rows()
    assert (int(float(a["step"])), int(float(b["step"]))) == (first["step"], second["step"])
    torch.manual_seed(0)
    untrained, stopped, resumed = (cost(w, sets) for w in (FaceNet().state_dict(), first["net"], second["net"]))
    assert untrained > max(stopped, resumed)
    assert cv2.imread(str(run / "curve.png")) is not None
    changed = [not torch.equal(first["average"][k], second["average"][k]) for k in first["average"]]
    assert np.mean(changed) > 0.9

    measured = release_detector(run, folder, version="0")
    assert [m["faces"] for m in measured.values()] == [8, 8]
    training = Model(folder).manifest.training
    assert training["steps"] == second["step"]
    assert training["where"] == ["cpu, 4 windows of 320 px a step"]
    assert "--batch 4" in training["command"]
    assert training["hyperparameters"] == asdict(small)  # kept by the resumed run, which was given none
    assert "synthetic_masks 0.3" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert (folder / "plots" / "recall.png").is_file()
    assert "# face_detector 0" in (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    image = cv2.imread(str(world / "data" / "scenes" / "images" / "val0.jpg"))
    for engine in ENGINES:
        found = open_detector(DetectorSettings(model=folder, engine=engine, score_threshold=0.01)).detect(image)
        assert found.xyxy.shape[1] == 4

    file = folder / "model.onnx"
    detector.train(tmp_path / "wide", 3 / 60, 1, 1, sets=sets, times=2, hyperparameters=small, clock=StepClock())
    teachers = [file, tmp_path / "wide" / "teacher.onnx"]
    again = detector.train(
        tmp_path / "again", 3 / 60, 1, 1, sets=sets, start=file, teachers=teachers, mix=True, hyperparameters=small,
        clock=StepClock(),
    )  # fmt: skip
    third = load_checkpoint(again) or {}
    known = ["model.onnx of version 0", "a detector 2 times as wide, trained for 0 minutes on cpu"]
    release_detector(tmp_path / "wide", tmp_path / "teacher")
    wide = Model(tmp_path / "teacher").manifest
    assert wide.name == "face_teacher"
    assert "2 times as wide" in wide.training["purpose"]
    assert "--times 2" in wide.training["command"]
    assert origin(tmp_path / "teacher" / "model.onnx") == known[1]
    assert (third["start"], third["teachers"]) == (known[0], known)
    learnt = Curve(tmp_path / "again" / "curve.csv").rows()[-1]
    assert min(float(learnt["distillation"]), float(learnt["mixup"])) >= 0
    release_detector(tmp_path / "again", tmp_path / "taught", version="1")
    released_by = Model(tmp_path / "taught").manifest.training
    assert released_by["learnt from"] == known
    assert "--mix --start" in released_by["command"]
    assert "--teacher models/face_detector/model.onnx --teacher runs/wide/teacher.onnx" in released_by["command"]
    assert third["net"]["heads.2.tower.1.1.num_batches_tracked"] == third["step"] > 0
    released = first_kernel(file) / INPUT_SCALE
    np.testing.assert_allclose(third["net"]["stem.0.0.weight"], released, atol=0.05)  # no kernel of another seed is
    go_on = functools.partial(detector.train, tmp_path / "again", seed=1, threads=1, sets=sets, clock=StepClock())
    fourth = load_checkpoint(go_on((third["spent"] + 3) / 60)) or {}
    assert fourth["step"] > third["step"]
    # A resumed run still knows where it began and from whom it learnt.
    assert (fourth["start"], fourth["teachers"]) == (third["start"], third["teachers"])
    fifth = load_checkpoint(go_on((fourth["spent"] + 3) / 60, restart=True, hyperparameters=small)) or {}
    assert fifth["origin"] == fourth["spent"]  # where the schedule began again
    release_detector(tmp_path / "again", tmp_path / "restarted", version="2")
    assert Model(tmp_path / "restarted").manifest.training["learnt from"] == known
    # A checkpoint of before they were kept can be released as well.
    older = {k: v for k, v in fifth.items() if k != "hyperparameters"} | {"batch": 256}
    save_checkpoint(tmp_path / "again" / "checkpoint.pt", older)
    release_detector(tmp_path / "again", tmp_path / "older", version="3")
    training = Model(tmp_path / "older").manifest.training
    assert training["hyperparameters"] == "not recorded by this run"
    assert "--batch 256" in training["command"]


@pytest.mark.parametrize(("of", "size"), [(FaceNet, (320, 320)), (FaceNet, (416, 288)), (PlainNet, (416, 288))])
def test_one_detector_file_gives_the_same_in_both_engines_at_any_size(
    tmp_path: Path, astronaut: Pixels, of: type[Net], size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    net = of()
    for head in net.heads:  # untrained, but with answers that differ from cell to cell
        torch.nn.init.normal_(head.out.weight, std=0.05)
        torch.nn.init.zeros_(head.out.bias)
    save_checkpoint(tmp_path / "checkpoint.pt", {"average": net.state_dict()})
    assert export_detector(tmp_path / "checkpoint.pt", tmp_path / "model.onnx") < 1e-3
    model, image = detector_folder(tmp_path), cv2.resize(astronaut, size)
    low = 0.3
    # At an overlap of 1 nothing is suppressed: every cell's answer is compared.
    a, b = (engine(model, low, 1.0, 1) for engine in ENGINES.values())
    for pair in ((a(image), b(image)), (b(image), a(image))):
        rows, others = (part.astype(float) for part in pair)
        clear = rows[rows[:, 14] > low + 1e-3]
        assert len(clear) > 50
        apart = np.abs(clear[:, None] - others[None]).max(2).min(1)
        assert apart.max() < 0.05  # pixels


def test_a_classifier_learns_and_is_released_in_both_precisions(world: Path, tmp_path: Path) -> None:
    run, folder, scenes = tmp_path / "run", tmp_path / "model", world / "data" / "scenes"
    faces = store_faces(coco_faces(scenes / "train.json", scenes / "images", Finder()), run / "faces")
    assert sorted(np.unique(faces.kinds)) == [MASK, NO_MASK]
    val = evaluate_classifier.read_coco(scenes / "val.json", scenes / "images")
    steps: list[int] = []
    for seconds in (110, 220):
        path = classifier.train(
            run, seconds / 60, 0, 1, faces=faces, width=8, hyperparameters=ForClassifier(batch=16), clock=StepClock()
        )
        steps.append((load_checkpoint(path) or {})["step"])
        worst = export_classifier(classifier.load(path), tmp_path / "try.onnx", 112)
        assert worst < 1e-3
    assert separation(classifier.load(path), val) > 0.5
    assert steps == sorted(set(steps))  # each resume goes on from the last
    assert len(Curve(run / "curve.csv").rows()) == len(steps)

    measured = build_classifier(run, folder, Faces(run / "faces"), val, "demo", "0")
    manifest = Model(folder).manifest
    assert set(manifest.files) == {"fp32", "int8"}
    assert manifest.files["int8"].bytes < 0.6 * manifest.files["fp32"].bytes
    assert manifest.metrics["torch against onnxruntime, largest difference"] < 1e-3
    assert 0.1 <= manifest.thresholds["no_mask"] <= 0.4 < 0.6 <= manifest.thresholds["mask"] <= 0.9
    scores = {}
    for precision in ("fp32", "int8"):
        assert measured[f"demo, {precision}"]["n"] == 8
        opened = MaskClassifier(ClassifierSettings(model=folder, precision=precision, stage="beta"))
        scores[precision] = opened.probabilities(val.crops)
        assert scores[precision][val.labels == "mask"].min() > scores[precision][val.labels == "no_mask"].max()
        assert measured[f"demo, {precision}"]["roc_auc"] == 1
    assert np.abs(scores["fp32"] - scores["int8"]).mean() < 0.15
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert manifest.files["int8"].sha256[:16] in card
    assert all((folder / "plots" / f"{name}.png").is_file() for name in ("roc", "confusion", "reliability", "training"))


def separation(net: classifier.MaskNet, val: evaluate_classifier.Crops) -> float:
    """Lowest logit difference of a masked face less the highest of a bare one."""
    from edge_app.vision.crops import to_network_input

    with torch.inference_mode():
        logits = net(torch.from_numpy(to_network_input(val.crops))).numpy()
    odds = logits[:, 0] - logits[:, 1]
    return float(odds[val.labels == "mask"].min() - odds[val.labels == "no_mask"].max())

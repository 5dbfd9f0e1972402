"""Promotion with real models: one trained here on wrong labels, and the released one; both measured on real pixels."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.workshop import Pixels, StepClock, leave, missing

if reason := missing("torch", "torchvision", "onnx", "sklearn", "matplotlib", "onnxruntime.quantization"):
    leave(reason)

from edge_app.config.settings import ClassifierSettings
from edge_app.errors import ModelError
from edge_app.inference.model import Model, models_dir
from edge_app.vision.classifier import MaskClassifier
from export.__main__ import main
from export.classifier.data import MASK, NO_MASK, Faces, store_faces
from export.classifier.hyperparameters import Hyperparameters
from export.classifier.release import build_classifier
from export.classifier.train import train
from export.common.manifest import save_manifest
from tests.integration.test_classifier_workshop import BOX, as_crops, views

SMALL = Hyperparameters(batch=16)

pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

Promote = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def wrong(astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A candidate that learned, for seconds, from swapped labels."""
    out = tmp_path_factory.mktemp("wrong")
    faces = views(astronaut, 40, seed=0)
    for face in faces:
        face.kind = NO_MASK if face.kind == MASK else MASK
    store_faces(iter(faces), out / "faces")
    train(out, 0.75, seed=0, threads=1, faces=Faces(out / "faces"), width=8, hyperparameters=SMALL, clock=StepClock())
    folder = out / "mask_classifier"
    build_classifier(out, folder, Faces(out / "faces"), as_crops(views(astronaut, 40, seed=1)), "drawn views", "wrong")
    return folder


@pytest.fixture
def right(models: Path, tmp_path: Path) -> Path:
    """The released model as a candidate would be: of stage beta, without a history."""
    folder = tmp_path / "right"
    shutil.copytree(models / "mask_classifier", folder)
    bare = Model(folder).manifest.model_copy(update={"stage": "beta", "version": "right", "history": []})
    save_manifest(folder, bare)
    return folder


@pytest.fixture(scope="module")
def data(astronaut: Pixels, masked: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file of 60 faces that no model was trained on: the portrait in many lights, every other one masked."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rng = np.random.default_rng(5)
    images, notes = [], []
    for i in range(60):
        portrait = masked if i % 2 else astronaut
        cv2.imwrite(str(folder / "images" / f"{i}.png"), np.clip(portrait * rng.uniform(0.5, 1.3, 3), 0, 255))
        images.append({"id": i, "file_name": f"{i}.png"})
        x0, y0, x1, y1 = (BOX + np.tile(rng.normal(0, 4, 2), 2)).tolist()
        kind = MASK if i % 2 else NO_MASK
        notes.append({"image_id": i, "category_id": kind, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    categories = [{"id": MASK, "name": "mask"}, {"id": NO_MASK, "name": "no_mask"}]
    (folder / "drawn.json").write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    return folder / "drawn.json"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty models/ of our own."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("EDGE_APP_MODELS", str(folder))
    models_dir.cache_clear()
    yield folder
    models_dir.cache_clear()


@pytest.fixture
def promote(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Promote:
    def call(*arguments: object) -> tuple[int, str, str]:
        words = ["export", "promote", "--data", str(data), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return call


def put(folder: Path, shelf: Path) -> Path:
    """Make a copy of a model the one in use."""
    current = shelf / "mask_classifier"
    shutil.copytree(folder, current)
    save_manifest(current, Model(current).manifest.model_copy(update={"stage": "prod"}))
    return current


def pixels_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_worse_candidate_is_refused_and_an_approval_is_recorded(
    wrong: Path, right: Path, shelf: Path, promote: Promote
) -> None:
    current = put(right, shelf)
    (current / "RUNS.md").write_text("kept by hand")
    before = pixels_of(current)
    code, out, err = promote(wrong)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {wrong}: not promoted to prod, nothing was replaced: ")
    assert err.count("\n") == 1
    for metric in ("precision no_mask", "F1 no_mask", "ROC AUC"):
        assert f"{metric} fell by " in err
    assert "60 faces of " in err
    assert '--approve "reason"' in err
    assert pixels_of(current) == before

    assert promote(wrong, "--approve", " ")[0] == 2
    assert pixels_of(current) == before

    code, out, err = promote(wrong, "--approve", "the old one fails on visors")
    assert (code, err) == (0, "")
    assert any("F1 no_mask fell" in objection for objection in json.loads(out)["objections"])
    manifest = Model(current).manifest
    assert (manifest.stage, manifest.version) == ("prod", "wrong")
    assert [step.stage for step in manifest.history] == ["beta", "prod"]
    last = manifest.history[-1]
    assert last.approved == "the old one fails on visors"
    assert (last.n, last.sha256["int8"]) == (60, manifest.files["int8"].sha256)
    assert last.metrics["F1 no_mask"]["after"] < last.metrics["F1 no_mask"]["before"]
    assert "approved: the old one fails on visors" in (current / "MODEL_CARD.md").read_text()
    assert (current / "RUNS.md").read_text() == "kept by hand"
    for precision in ("fp32", "int8"):
        assert Model(current).file(precision).read_bytes() == Model(wrong).file(precision).read_bytes()
    assert {path.name for path in shelf.iterdir()} == {"mask_classifier"}
    MaskClassifier(ClassifierSettings())  # it is what the runtime opens now


def test_a_better_candidate_goes_through_every_stage_on_merit(
    wrong: Path, right: Path, shelf: Path, promote: Promote
) -> None:
    current = put(wrong, shelf)
    before = pixels_of(current)
    code, _, err = promote(right, "--stage", "gamma")
    assert (code, err) == (0, "")
    assert Model(right).manifest.stage == "gamma"
    assert pixels_of(current) == before
    with pytest.raises(ModelError, match=r"manifest\.json: its stage is gamma, only prod may run here: .*promote"):
        MaskClassifier(ClassifierSettings(model=right))
    MaskClassifier(ClassifierSettings(model=right, stage="gamma"))
    assert promote(right, "--stage", "gamma")[0] == 2  # it is gamma already

    code, out, err = promote(right, "--approve", "not needed")
    assert (code, err) == (0, "")
    assert json.loads(out)["objections"] == []
    manifest = Model(current).manifest
    assert (manifest.stage, manifest.version) == ("prod", "right")
    assert [(step.stage, step.version) for step in manifest.history] == [
        ("beta", "wrong"), ("gamma", "right"), ("prod", "right"),
    ]  # fmt: skip
    assert manifest.history[-1].approved is None  # nothing had to be approved
    assert MaskClassifier(ClassifierSettings()).mask_threshold == manifest.thresholds["mask"]
    assert promote(right)[2] == f"error: {right}: the same model is already in {current}; nothing to replace\n"


def test_what_cannot_be_promoted(right: Path, shelf: Path, promote: Promote, tmp_path: Path) -> None:
    code, _, err = promote(tmp_path / "gone")
    assert (code, err.count("\n")) == (3, 1)
    assert "gone/manifest.json: no such file" in err
    current = put(right, shelf)
    assert "already the model in use" in promote(current)[2]
    model = right / "model.int8.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    before = pixels_of(current)
    save_manifest(right, Model(right).manifest.model_copy(update={"temperature": 2.0}))
    code, _, err = promote(right)
    assert (code, err.count("\n")) == (3, 1)
    assert "model.int8.onnx: " in err
    assert pixels_of(current) == before


def test_a_crash_between_the_two_renames_is_undone(right: Path, wrong: Path, shelf: Path, promote: Promote) -> None:
    current = put(right, shelf)
    before = pixels_of(current)
    current.rename(shelf / ".mask_classifier.old")
    shutil.copytree(wrong, shelf / ".mask_classifier.new")
    assert promote(wrong)[0] == 1
    assert pixels_of(current) == before


def test_faces_of_one_class_decide_nothing(right: Path, wrong: Path, shelf: Path, promote: Promote, data: Path) -> None:
    put(right, shelf)
    coco = json.loads(data.read_text())
    coco["annotations"] = [note for note in coco["annotations"] if note["category_id"] == MASK]
    half = data.with_name("half.json")
    half.write_text(json.dumps(coco))
    code, _, err = promote(wrong, "--data", half)
    assert (code, err.count("\n")) == (2, 1)
    assert "half.json: all its faces are of one class" in err


def test_the_first_model_of_all_has_nothing_to_be_measured_against(right: Path, shelf: Path, promote: Promote) -> None:
    code, out, _ = promote(right)
    assert code == 0
    assert set(json.loads(out)["metrics"]) == {"accuracy", "ms a face"}
    assert np.isfinite(json.loads(out)["metrics"]["accuracy"]["int8"])
    MaskClassifier(ClassifierSettings())

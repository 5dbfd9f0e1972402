"""Bad input to `python -m export`: one line that says what is wrong, and exit code 2."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workshop import leave, missing

if reason := missing("torch", "torchvision", "onnx", "sklearn", "onnxruntime.quantization"):
    leave(reason)

from export.__main__ import main
from export.common.training import Curve, load_checkpoint, save_checkpoint
from export.detector.net import FaceNet

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, in an empty folder, with shared data that holds nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGE_APP_SHARED", str(tmp_path / "shared"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export", *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("command", ["train-classifier", "train-detector"])
def test_training_without_data(run: Run, command: str) -> None:
    refused(run(command, "--out", "runs/x"), "train.json: no such file", "EDGE_APP_SHARED")
    assert not Path("runs").exists()


@pytest.mark.parametrize("which", ["face_detector", "mask_classifier"])
def test_release_without_checkpoint_or_data(run: Run, which: str, tmp_path: Path) -> None:
    refused(run("release", which, "nowhere"), "nowhere: no checkpoint.pt there", "--out")
    (tmp_path / "checkpoint.pt").touch()
    refused(run("release", which, "."), "val.json: no such file")


def test_weights_of_a_checkpoint_that_is_not_there(run: Run) -> None:
    refused(run("average", "gone.pt", "--out", "x"), "gone.pt: no such file", "checkpoint.pt")
    assert not Path("x").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    refused(run("average", "checkpoint.pt", "--out", "x"), "checkpoint.pt: cannot be read", "training wrote")
    assert not Path("x").exists()


def test_weights_go_into_a_new_run_with_the_curve(run: Run, tmp_path: Path) -> None:
    net = FaceNet()
    Curve(tmp_path / "old" / "curve.csv").add(minutes=1)
    save_checkpoint(tmp_path / "old" / "checkpoint.pt", {"average": net.state_dict(), "spent": 60.0, "step": 3})
    assert run("average", "old/checkpoint.pt", "--out", "mean")[:2] == (0, "mean/checkpoint.pt\n")
    state = load_checkpoint(tmp_path / "mean" / "checkpoint.pt")
    assert state is not None
    assert state["step"] == 3
    FaceNet().load_state_dict(state["average"])
    assert len(Curve(tmp_path / "mean" / "curve.csv").rows()) == 1


def test_evaluate_without_data(run: Run) -> None:
    refused(run("evaluate", "face_detector"), "val.json: no such file", "EDGE_APP_SHARED")
    refused(run("evaluate", "mask_classifier", "--data", "gone.json"), "gone.json: no such file")


def test_an_unknown_engine(run: Run, tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text(json.dumps({"images": [], "categories": [], "annotations": []}))
    arguments = ("--data", "val.json", "--engine", "tensorrt")
    refused(run("evaluate", "face_detector", *arguments), "tensorrt", "opencv, onnxruntime")


def test_clips_without_labels(run: Run, tmp_path: Path) -> None:
    refused(run("evaluate-clips", "."), "clips.json: no such file")
    refused(run("evaluate-clips"), "clips.json: no such file")


@pytest.mark.parametrize("content", ["{", "[]", '{"a.mp4": 1}', '{"a.mp4": {"labels": [[0, "x"]]}}'])
def test_clips_with_labels_that_are_none(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "clips.json").write_text(content)
    refused(run("evaluate-clips", "."), "clips.json: expected JSON such as")


@pytest.mark.parametrize("command", ["evaluate face_detector", "evaluate mask_classifier", "evaluate-together"])
def test_faces_that_are_none(run: Run, tmp_path: Path, command: str) -> None:
    image, category = {"id": 1, "file_name": "a.jpg"}, {"id": 1, "name": "mask"}
    note = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    sound = {"images": [image], "categories": [category], "annotations": [note]}
    for content, word in (
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "images is missing"),
        (json.dumps(sound | {"annotations": [note | {"category_id": 9}]}), "annotations[0]"),
        (json.dumps(sound | {"images": [image | {"id": [1]}]}), "images[0]: id is not an integer"),
        (json.dumps(sound | {"images": [image | {"file_name": 7}]}), "images[0]: file_name is not text"),
    ):
        (tmp_path / "faces.json").write_text(content)
        refused(run(*command.split(), "--data", "faces.json"), "faces.json", word)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("evaluate", "hat_detector"), "hat_detector"),
        (("train-detectr",), "train-detectr"),
        (("train-detector", "--minutes", "long"), "--minutes"),
        (("release", "face_detector"), "RUN"),
    ],
)
def test_wrong_words(run: Run, arguments: tuple[str, ...], word: str) -> None:
    refused(run(*arguments), word)


def test_a_missing_model_is_one_line_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text(json.dumps({"images": [], "categories": [], "annotations": []}))
    code, out, err = run("evaluate", "face_detector", "--data", "val.json", "--folder", "nowhere")
    assert code != 0
    assert out == ""
    assert err.startswith("error: nowhere")
    assert err.count("\n") == 1


def test_promotion_without_candidate_data_or_reason(run: Run, tmp_path: Path) -> None:
    refused(run("promote", "nowhere"), "val.json: no such file", "EDGE_APP_SHARED")
    refused(run("promote", "nowhere", "--data", "gone.json"), "gone.json: no such file")
    refused(run("promote", "nowhere", "--stage", "beta"), "--stage': 'beta' is not one of", "gamma")
    refused(run("promote", "nowhere", "--approve", ""), "--approve: empty")
    (tmp_path / "faces.json").write_text("{")
    refused(run("promote", "nowhere", "--data", "faces.json"), "faces.json: not a COCO file: not valid JSON")


def test_labelling_without_pictures(run: Run, tmp_path: Path) -> None:
    refused(run("label", "nowhere", "--out", "labels.json"), "nowhere: No such file", "expected a folder of pictures")
    refused(run("label", ".", "--out", "labels.json"), "no pictures or clips in this folder")
    refused(run("label", "."), "--out")
    refused(run("label", ".", "--out", "labels.json", "--every", "0"), "--every")


def test_training_on_added_faces_that_are_not_there(run: Run, tmp_path: Path) -> None:
    scenes = tmp_path / "shared" / "data" / "scenes"
    scenes.mkdir(parents=True)
    (scenes / "train.json").touch()
    refused(run("train-classifier", "--add", "week.json"), "week.json: no such file", "expected a COCO file")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "command",
    ["train-classifier", "train-detector", "release", "evaluate", "evaluate-clips", "label", "promote"],
)
def test_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert command in out

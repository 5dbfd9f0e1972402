"""Nothing leaves the machine, and no file is written but those asked for, whatever the libraries would do alone."""

import ast
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.command import COMMAND, ROOT
from tests.conftest import need
from tests.traced import traced
from tests.workshop import missing

ROOMS = {"onnxruntime": "edge_app/inference/ort.py", "matplotlib": "edge_app/bench/plots.py"}


@pytest.fixture
def picture(tmp_path: Path, astronaut: npt.NDArray[np.uint8]) -> Path:
    cv2.imwrite(str(tmp_path / "portrait.png"), astronaut)
    return tmp_path / "portrait.png"


RUN = ("run", "demo", "--max-frames", 40, "--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4")


class TestCommands:
    @pytest.mark.usefixtures("models", "astronaut")
    @pytest.mark.parametrize(
        ("arguments", "written"),
        [
            (RUN, {"e.jsonl", "s.json", "v.mp4"}),
            ((*RUN, "--set", "detector.engine=onnxruntime"), {"e.jsonl", "s.json", "v.mp4"}),
            (("doctor",), set()),
            (("config",), set()),
            (("bench", "demo", "--frames", 5), set()),
        ],
        ids=["run", "run-onnxruntime", "doctor", "config", "bench"],
    )
    def test_a_command_writes_what_it_was_asked_for_and_calls_nobody(
        self, tmp_path: Path, arguments: tuple[object, ...], written: set[str]
    ) -> None:
        folder = tmp_path / "work"
        traced([*COMMAND, *arguments], folder).assert_kept_to_itself()
        assert {path.name for path in folder.iterdir()} == written

    @pytest.mark.usefixtures("models")
    def test_image(self, tmp_path: Path, picture: Path) -> None:
        found = traced([*COMMAND, "image", picture, "--output-dir", "out"], tmp_path / "work")
        found.assert_kept_to_itself()
        assert found.process.stderr == ""
        assert [str(path.relative_to(tmp_path / "work")) for path in (tmp_path / "work").rglob("*.*")] == [
            "out/portrait.png"
        ]

    @pytest.mark.slow
    @pytest.mark.usefixtures("models", "astronaut")
    def test_the_chart_and_the_commands_that_the_bench_starts(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        pytest.importorskip("onnx")
        found = traced([*COMMAND, "bench", "demo", "--frames", 5, "--classic", "--chart", "c.png"], tmp_path / "work")
        found.assert_kept_to_itself()
        assert [path.name for path in (tmp_path / "work").iterdir()] == ["c.png"]

    @pytest.mark.usefixtures("models", "astronaut")
    @pytest.mark.parametrize("arguments", [("doctor",), ("bench", "demo", "--frames", 3), ("image", "portrait.png")])
    def test_without_a_home_there_is_no_complaint(
        self, tmp_path: Path, picture: Path, arguments: tuple[object, ...]
    ) -> None:
        found = traced([*COMMAND, *arguments], tmp_path, HOME="/dev/null")  # as a service's user has it
        assert (found.process.returncode, found.process.stderr) == (0, "")


TRAINING = """
from pathlib import Path

from skimage.data import astronaut

from edge_app.inference.model import Model
from export.classifier.train import train
from export.classifier.data import Faces, store_faces
from export.classifier.hyperparameters import Hyperparameters
from export.classifier.release import build_classifier
from tests.integration.test_classifier_workshop import as_crops, views

portrait = astronaut()[..., ::-1]
faces = store_faces(iter(views(portrait, 40, seed=0)), Path("faces"))
train(Path("run"), 0.02, seed=0, threads=1, faces=faces, width=8, hyperparameters=Hyperparameters(batch=16))
build_classifier(Path("run"), Path("model"), Faces(Path("faces")), as_crops(views(portrait, 20, seed=1)), "drawn", "t")
Model(Path("model")).session("int8")
"""


@pytest.mark.slow
def test_training_exporting_and_measuring_a_model(tmp_path: Path) -> None:
    if reason := missing("torch", "torchvision", "onnx", "sklearn", "matplotlib", "onnxruntime.quantization"):
        need(False, reason)
    found = traced([sys.executable, "-W", "ignore", "-c", TRAINING], tmp_path / "work")
    found.assert_kept_to_itself()
    assert (tmp_path / "work" / "model" / "plots" / "roc.png").exists()


def test_the_watch_sees_a_call_and_a_file_elsewhere(tmp_path: Path) -> None:
    script = (
        "import socket, pathlib\n"
        "pathlib.Path.home().joinpath('id').touch()\n"
        "try: socket.create_connection(('127.0.0.1', 9), 1)\n"
        "except OSError: pass\n"
    )
    found = traced([sys.executable, "-c", script], tmp_path / "work")
    assert found.home == ["id"]
    assert len(found.elsewhere) == 1
    assert len(found.talks) == 1


@pytest.mark.parametrize("library", ROOMS)
def test_a_library_that_has_a_room_is_imported_there_alone(library: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("edge_app", "export", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if str(path.relative_to(ROOT)) != ROOMS[library]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if library in _imported(node)
    ]
    assert found == []


def _imported(node: ast.AST) -> set[str]:
    """The top-level packages that a statement imports, `import_module` with a plain name included."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {str(node.module).partition(".")[0]}
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
        return {str(a.value).partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    return set()

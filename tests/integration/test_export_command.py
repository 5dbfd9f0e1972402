"""`python -m export` as a process, also where the extra `export` is not installed: one line and the right exit code."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command import ROOT, environment, wait_until
from tests.media import Pixels, write_clip

COMMAND = [sys.executable, "-m", "export"]
COMMANDS = (
    *("train-classifier", "train-teacher", "train-detector", "average", "mine-detector"),
    *("release", "evaluate", "evaluate-together", "evaluate-clips", "label", "promote"),
)
NEED_BOTH = (  # the shared data and the extra
    ("train-classifier",),
    ("train-teacher",),
    ("train-detector",),
    ("mine-detector", "--out", "a.csv", "--sheets", "s"),
    ("evaluate", "face_detector"),
    ("evaluate", "mask_classifier"),
    ("promote", "candidate"),
)
# Installed by the extra alone; scipy comes with the runtime's tracker, too.
EXTRA = ("torch", "torchvision", "onnx", "onnxscript", "sklearn", "matplotlib", "efficientnet_lite_pytorch")
_HIDE = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRA}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bare(tmp_path: Path) -> Run:
    """Run `python -m export ARGUMENTS` in an empty folder, without the extra and without shared data."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(_HIDE, encoding="utf-8")
    variables = {"PYTHONPATH": f"{tmp_path / 'hidden'}:{ROOT}", "EDGE_APP_SHARED": str(tmp_path / "shared")}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path, env=environment(**variables), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run


def refused(result: subprocess.CompletedProcess[str], *words: str, code: int = 2) -> None:
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def scenes(folder: Path, *names: str) -> None:
    (folder / "shared" / "data" / "scenes").mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / "shared" / "data" / "scenes" / name).write_text('{"images": [], "annotations": [], "categories": []}')


def test_the_extra_is_hidden(bare: Run, tmp_path: Path) -> None:
    """Else the tests below would show nothing."""
    for module in EXTRA:
        (tmp_path / "export.py").write_text(f"import {module}\n", encoding="utf-8")  # the folder wins over the checkout
        assert f"No module named '{module}'" in bare().stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_every_command(bare: Run, option: str) -> None:
    listed = bare(option)
    assert (listed.returncode, listed.stderr) == (0, "")
    for command in COMMANDS:
        assert command in listed.stdout
    if option == "-h":
        for command in COMMANDS:
            result = bare(command, option)
            assert (result.returncode, result.stderr) == (0, "")
            assert f"python -m export {command}" in result.stdout


def test_no_command_shows_them_all(bare: Run) -> None:
    result = bare()
    assert (result.returncode, result.stderr) == (2, "")
    assert "train-detector" in result.stdout


@pytest.mark.parametrize("arguments", [*NEED_BOTH, ("evaluate-together",), ("evaluate-clips",)])
def test_data_that_are_missing(bare: Run, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Said before anything heavy is loaded, so also without the extra."""
    refused(bare(*arguments), "no such file", str(tmp_path / "shared"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [*NEED_BOTH, ("release", "face_detector", "run"), ("average", "run/checkpoint.pt", "--out", "mean")],
)
def test_an_extra_that_is_missing(bare: Run, arguments: tuple[str, ...], tmp_path: Path) -> None:
    scenes(tmp_path, "train.json", "val.json")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").touch()
    refused(bare(*arguments), "pip install '.[export]'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--fast",), "--fast"),
        (("train-detector", "--fast"), "--fast"),
        (("train-detectr",), "train-detectr"),
        (("evaluate", "hat_detector"), "hat_detector"),
        (("average",), "CHECKPOINT"),
    ],
)
def test_wrong_words(bare: Run, arguments: tuple[str, ...], word: str) -> None:
    refused(bare(*arguments), word, "python -m export --help")


def test_labelling_takes_the_runtime_alone(bare: Run, tmp_path: Path, astronaut: Pixels) -> None:
    (tmp_path / "in").mkdir()
    write_clip(tmp_path / "in" / "a.mp4", [astronaut])
    result = bare("label", "in", "--out", "out/labels.json")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "labels.json").is_file()


def test_ctrl_c(tmp_path: Path, astronaut: Pixels) -> None:
    """While it works: 130, one line, and what had been written stays."""
    (tmp_path / "in").mkdir()
    first = write_clip(tmp_path / "in" / "000.mp4", [astronaut] * 50)
    for number in range(1, 200):
        shutil.copyfile(first, tmp_path / "in" / f"{number:03}.mp4")
    arguments = ["label", "in", "--out", "out/labels.json", "--every", "1"]
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: list(tmp_path.glob("out/images/*.jpg")) or process.poll() is not None, "a first picture")
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error == "error: interrupted\n"
    assert list(tmp_path.glob("out/images/*.jpg"))
    assert not (tmp_path / "out" / "labels.json").exists()

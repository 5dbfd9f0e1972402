"""What gets installed: everything the runtime needs, nothing it does not."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from setuptools import find_namespace_packages

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=~\[; ]", text)[0].lower() for text in requirements}


def test_every_package_and_model_is_in_the_wheel(project: dict[str, Any]) -> None:
    packages = set(find_namespace_packages(str(ROOT), **project["tool"]["setuptools"]["packages"]["find"]))
    rooms = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "edge_app").rglob("__init__.py")}
    models = {f"edge_app._models.{path.parent.name}" for path in (ROOT / "models").glob("*/manifest.json")}
    assert rooms | models <= packages
    assert all(name.count(".") < 3 for name in packages)  # no plots, no teacher


def test_training_libraries_are_no_runtime_dependency(project: dict[str, Any]) -> None:
    runtime = _names(project["project"]["dependencies"] + project["project"]["optional-dependencies"]["demo"])
    assert not runtime & {"torch", "torchvision", "onnx", "onnxscript", "scikit-learn", "matplotlib"}


def test_hints_name_packages_that_exist(project: dict[str, Any]) -> None:
    """No index has edge-app: what to install is a package of an extra, or in the checkout an extra of '.'."""
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    known = _names([*project["project"]["dependencies"], *(text for extra in extras.values() for text in extra)])
    files = [path for folder in ("edge_app", "export", "tests") for path in (ROOT / folder).rglob("*.py")]
    hints = [
        (path.name, hint)
        for path in files
        if path != Path(__file__)
        for hint in re.findall(r"pip install ('[^']*'|[\w.\[\]-]+)", path.read_text(encoding="utf-8"))
    ]
    assert len(hints) > 5
    for file, hint in hints:
        local = re.fullmatch(r"'\.\[(\w+)\]'", hint)
        assert (local[1] in extras) if local else (hint.lower() in known), f"{file}: pip install {hint}"
    text = "".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__))
    assert "edge-app[" not in text


def test_constraints_pin_every_dependency_exactly(project: dict[str, Any]) -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\d.]+(\.?post\d+)?", line) for line in lines)
    pinned = _names(lines)
    extras = project["project"]["optional-dependencies"].values()
    assert _names([*project["project"]["dependencies"], *(text for extra in extras for text in extra)]) <= pinned


def test_the_check_on_a_bare_debian_knows_its_steps() -> None:
    result = subprocess.run([ROOT / "tests" / "fresh.sh", "lunch"], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "error: no step lunch: expected wheel, demo or test\n"

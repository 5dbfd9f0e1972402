"""Tests use what everybody may use: none touches a private name of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
OURS = ("edge_app", "export")
NAMING = {"setattr", "delattr", "getattr", "hasattr", "patch", "object", "attrgetter", "methodcaller"}


def is_private(name: str) -> bool:
    """Whether it is, or any part of a dotted name. `_` alone, dunder names and a named tuple's `_replace` are not."""
    return name != "_replace" and any(
        part.startswith("_") and part.strip("_") and not part.endswith("__") for part in name.split(".")
    )


def text_of(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def called_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def privates(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of what a test touches: by attribute, by import, or by the name that it patches or asks for."""
    nodes = list(ast.walk(ast.parse(source)))
    foreign = {  # what others call private is theirs to say: os._exit
        (alias.asname or alias.name).partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name.partition(".")[0] not in OURS
    }
    for node in nodes:
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls", *foreign}):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in OURS:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from ((node.lineno, name) for name in names if is_private(name))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.partition(".")[0] in OURS]
            yield from ((node.lineno, name) for name in names if is_private(name))
        elif isinstance(node, ast.Call) and (called := called_name(node.func)) in NAMING:
            yield from ((node.lineno, f"{called} {name}") for name in map(text_of, node.args[:2]) if is_private(name))


@pytest.mark.parametrize(
    "line",
    [
        "reader._mailbox.get()",
        "from edge_app.capture.reader import _JOIN_S",
        "from edge_app._version import version",
        "monkeypatch.setattr(files, '_WAIT_S', 0.2)",
        "monkeypatch.setattr('edge_app.outputs.jsonl._KEEP', 2)",
        "import edge_app._models.face_detector",
        "monkeypatch.setattr('edge_app._models.place', 2)",
        "getattr(sink, '_box')",
        "patch.object(reader, '_lock')",
        "setattr(FrameReader, '_lock', None)",
    ],
)
def test_what_is_private_is_found(line: str) -> None:
    assert [number for number, _ in privates(f"import os\n{line}\n")] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "os._exit(1)",
        "self._step_s = 1",
        "monkeypatch.setattr(trial, '__file__', 'gone')",
        "name.__doc__",
        "_, value = pair",
        "urlsplit(url)._replace(path='')",
        "monkeypatch.setattr(demo, 'FRAMES', 3)",
        "touch('._a.jpg')",
    ],
)
def test_what_is_a_tests_own_or_public_is_not(line: str) -> None:
    assert list(privates(f"import os\n{line}\n")) == []


def test_no_test_touches_a_private_name() -> None:
    found = {
        str(path.relative_to(TESTS)): names
        for path in sorted(TESTS.rglob("*.py"))
        if (names := [f"line {line}: {name}" for line, name in privates(path.read_text(encoding="utf-8"))])
    }
    assert found == {}

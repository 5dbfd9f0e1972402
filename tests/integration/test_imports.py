"""What importing edge_app does to a process: it makes modules, and changes nothing that is everybody's."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.command import environment

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "edge_app").rglob("*.py")
    if "_models" not in path.parts
)
# ONNX Runtime looks for it while it is loaded, and calls its vendor where it is not set: no later moment will do.
ALLOWED = {"ORT_DISABLE_TELEMETRY": "1"}

# The state of a process, as plain values. Packages of others are loaded before it is first asked for: what those do
# when they are loaded is not ours to say.
SNAPSHOT = """
import importlib, json, logging, os, signal, sys, threading, warnings

def state():
    loggers = {k: each for k, each in logging.Logger.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    seen = {
        "environment": dict(os.environ),
        "root": [logging.root.level, list(map(repr, logging.root.handlers)), list(map(repr, logging.root.filters))],
        "loggers": {name: [each.level, list(map(repr, each.handlers)), each.propagate, each.disabled]
                    for name, each in loggers.items()},
        "record factory": repr(logging.getLogRecordFactory()),
        "warnings": [list(map(repr, warnings.filters)), repr(warnings.showwarning)],
        "signals": {int(each): repr(signal.getsignal(each)) for each in signal.valid_signals()},
        "hooks": [repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook)],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "streams": [repr(sys.stdin), repr(sys.stdout), repr(sys.stderr)],
        "limits": [sys.getrecursionlimit(), sys.getswitchinterval(), os.getcwd(), sorted(sys.path)],
    }
    if "cv2" in sys.modules:
        import cv2
        seen["cv2"] = [cv2.getNumThreads(), cv2.utils.logging.getLogLevel(), cv2.useOptimized(), cv2.ocl.useOpenCL()]
    if "numpy" in sys.modules:
        import numpy
        seen["numpy"] = [numpy.geterr(), numpy.get_printoptions()]
    if "av" in sys.modules:
        import av.logging
        seen["av"] = av.logging.get_level()
    if "PIL.Image" in sys.modules:
        import PIL.Image
        seen["PIL"] = [PIL.Image.MAX_IMAGE_PIXELS, sorted(PIL.Image.OPEN)]
    return seen
"""


def told_by(code: str, *arguments: str, **variables: str) -> Any:
    """What a fresh process prints as JSON."""
    command = [sys.executable, "-c", SNAPSHOT + code, *arguments]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def changes(code: str, theirs: list[str], *modules: str) -> dict[str, Any]:
    """What of the state of a process `code` changes, once modules of other packages have been loaded."""
    before, after = told_by(
        "for name in sys.argv[1].split():\n    importlib.import_module(name)\n"
        f"before = state()\n{code}\nprint(json.dumps([before, state()]))",
        " ".join(theirs),
        *modules,
    )
    for name in [name for name in after["loggers"] if name.startswith("edge_app")]:
        assert after["loggers"].pop(name) == [0, [], True, False]
    return {key: [before[key], after[key]] for key in after if before[key] != after[key]}


@pytest.fixture(scope="module")
def theirs() -> list[str]:
    """Modules of other packages that importing all of ours loads, ONNX Runtime's among them."""
    code = """
for name in sys.argv[1:]:
    importlib.import_module(name)
others = [name for name in sys.modules if name.partition(".")[0] not in ("edge_app", "__main__")]
print(json.dumps([name for name in others if "_" not in name and name.count(".") < 2]))
"""
    loaded: list[str] = told_by(code, *MODULES)
    return loaded


def test_all_modules_are_looked_at(theirs: list[str]) -> None:
    assert {"edge_app", "edge_app.capture.opencv", "edge_app.vision.detector", "edge_app.__main__"} <= set(MODULES)
    assert {"cv2", "onnxruntime", "supervision", "PIL.Image"} <= set(theirs)


def test_importing_them_all_changes_nothing_that_is_everybodys(theirs: list[str]) -> None:
    changed = changes("for name in sys.argv[2:]:\n    importlib.import_module(name)", theirs, *MODULES)
    before, after = changed.pop("environment", [{}, {}])
    assert after == before | ALLOWED
    assert changed == {}


def test_changes_would_be_seen() -> None:
    code = """
import cv2
os.environ["X_NEW"] = "1"
cv2.setNumThreads(3 if cv2.getNumThreads() != 3 else 2)
logging.getLogger("PIL").setLevel(logging.ERROR)
logging.basicConfig()
warnings.simplefilter("ignore")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=threading.Event().wait, daemon=True, name="mine").start()
"""
    seen = {"cv2", "environment", "loggers", "root", "signals", "threads", "warnings"}
    assert set(changes(code, ["cv2", "PIL.Image"])) == seen


def test_edge_app_alone_loads_nothing() -> None:
    before, loaded, after = told_by(
        "before, had = state(), set(sys.modules)\n"
        "import edge_app\n"
        "print(json.dumps([before, sorted(set(sys.modules) - had), state()]))"
    )
    assert before == after
    assert {name.partition(".")[0] for name in loaded} <= {"edge_app", "typing", "_typing"}
    assert [name for name in loaded if name.startswith("edge_app")] == ["edge_app"]

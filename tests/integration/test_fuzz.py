"""A short run of `python -m tests.fuzz`; the whole of it with EDGE_APP_TEST_LONG=1."""

import importlib.util
import os
from pathlib import Path

import pytest

from tests.conftest import need
from tests.fuzz.command import Sandbox

LONG = bool(os.environ.get("EDGE_APP_TEST_LONG"))
SHORT = {"pictures": 100, "clips": 8, "configurations": 100, "models": 10}
BUSY_S = 120.0  # a machine that runs other things is no fault of ours; by hand the limit is 10 s


@pytest.fixture(autouse=True)
def _everything_is_here(models: Path) -> None:
    for module in ("onnx", "skimage"):
        need(importlib.util.find_spec(module), f"{module} is missing: pip install '.[export]'")
    need(Path("/proc/self/environ").is_file(), "what a command leaves behind is looked for in /proc")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(SHORT))
def test_no_input_does_what_none_may_do(kind: str, tmp_path: Path) -> None:
    from tests.fuzz.__main__ import FULL, Plan, fuzz

    plan = Plan(patience_s=10.0 if LONG else BUSY_S, jobs=os.cpu_count() or 1, keep=tmp_path)
    report = fuzz(kind, FULL[kind] if LONG else SHORT[kind], plan)
    assert report.failures == [], f"again with python -m tests.fuzz {kind} --first NUMBER --count 1"


class TestTheJudge:
    """Commands that do what they must not do are found out."""

    def faults(self, folder: Path, code: str, **options: object) -> list[str]:
        box = Sandbox(folder)
        (box.inputs / "input").write_text("as it was")
        (box.work / "misdeed.py").write_text(code)
        found = box.run([], module="misdeed", **{"patience_s": 60.0, **options}).faults  # type: ignore[arg-type]
        return [fault for fault in found if "__pycache__" not in fault]

    @pytest.mark.parametrize(
        ("code", "fault"),
        [
            ("import sys; sys.exit(1)", "exit code 1"),
            ("import os; os.abort()", "crashed: SIGABRT"),
            ("raise KeyError('x')", "'Traceback' on stderr: KeyError: 'x'"),
            ("import sys; print('error: unexpected KeyError', file=sys.stderr)", "'unexpected ' on stderr"),
            ("import sys; print('[ WARN:0] net', file=sys.stderr)", "a line on stderr that is not ours"),
            ("import sys; print('error: \\x1b[2J', file=sys.stderr)", "control characters on stderr"),
            ("open('x', 'w')", "made work/x"),
            ("open('../in/input', 'w')", "changed in/input"),
            ("import os; os.remove('../in/input')", "removed in/input"),
            ("import pathlib; pathlib.Path.home().joinpath('.cache').mkdir()", "made home/.cache"),
            ("import tempfile; tempfile.mkstemp()", "made tmp/tmp"),
            ("x = bytearray(200 << 20)", " MiB, over 100"),
            (
                "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
                " start_new_session=True)",
                "left a process: ",
            ),
        ],
    )
    def test_a_misdeed_is_named(self, tmp_path: Path, code: str, fault: str) -> None:
        found = self.faults(tmp_path, code, ceiling_mib=100)
        assert any(fault in each for each in found), found

    def test_a_command_that_hangs_is_ended(self, tmp_path: Path) -> None:
        assert self.faults(tmp_path, "import time; time.sleep(600)", patience_s=1.0) == [
            "hung: nothing written for 1 s"
        ]

    def test_what_was_asked_for_is_no_fault(self, tmp_path: Path) -> None:
        code = "import sys; open('x', 'w'); print('error: x: no such file', file=sys.stderr); sys.exit(4)"
        assert self.faults(tmp_path, code, outputs=lambda name: name == "x") == []


def test_an_input_can_be_had_again(tmp_path: Path) -> None:
    import random

    from tests.fuzz.__main__ import KINDS

    for name, kind in KINDS.items():
        for number in (1, 2, 3):
            folders = [tmp_path / f"{name}-{number}-{again}" for again in "ab"]
            for folder in folders:
                folder.mkdir()
                kind.make(number, random.Random(f"{name} {number}"), folder)
            found = [
                {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                for folder in folders
            ]
            assert found[0] == found[1]

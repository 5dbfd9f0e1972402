"""The picture that shows what a run does is drawn by the demo itself."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from tests.command import ROOT, environment

pytestmark = pytest.mark.usefixtures("models", "astronaut")


def test_it_is_drawn_and_small_enough_to_be_shown(tmp_path: Path) -> None:
    target = tmp_path / "new" / "demo.jpg"
    command = [sys.executable, "tools/draw_demo.py", str(target)]
    subprocess.run(command, cwd=ROOT, env=environment(), check=True, capture_output=True, timeout=120)
    assert 10_000 < target.stat().st_size < 300_000
    picture = cv2.imread(str(target))
    assert picture is not None
    assert picture.shape == (380, 960, 3)

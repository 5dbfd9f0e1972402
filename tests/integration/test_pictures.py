"""Pictures in a process of their own: what decoding one starts, and how much memory the largest may take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.command import environment


@pytest.mark.parametrize("name", ["photo.jpg", "photo.eps"])
def test_postscript_starts_no_interpreter(tmp_path: Path, name: str) -> None:
    interpreter = tmp_path / "bin" / "gs"
    interpreter.parent.mkdir()
    interpreter.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n", encoding="utf-8")
    interpreter.chmod(0o755)
    Image.new("RGB", (64, 64)).save(tmp_path / name, format="EPS")
    code = "import sys, pathlib; from edge_app.capture.images import load_image; load_image(pathlib.Path(sys.argv[1]))"
    path = f"{interpreter.parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)],
        env=environment(PATH=path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "PostScript pictures are not supported" in result.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("turned", [False, True])
def test_a_large_picture_is_held_in_memory_once_beside_its_decoder(tmp_path: Path, turned: bool) -> None:
    side, exif = 6000, Image.Exif()
    exif[0x0112] = 6 if turned else 1
    Image.new("RGB", (side, side)).save(tmp_path / "a.jpg", exif=exif)
    code = (
        "import resource, sys; from pathlib import Path; from edge_app.capture.images import load_image, supported\n"
        "supported(); peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); load_image(Path(sys.argv[1])); print(peak() - before)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.jpg")], env=environment(), capture_output=True, check=True
    )
    assert int(result.stdout) < 9.5 * side * side  # Pillow takes 4 bytes a pixel (8 while it turns), the result 3

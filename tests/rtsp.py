"""The tests' side of `rtsp_server.py`: starts and kills it, and reads the time out of its pictures."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import need
from tests.media import Pixels

SYSTEM_PYTHON = "/usr/bin/python3"
PATH = "/live"
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_PER_ROW, _ROWS = 20, 2


@cache
def _problem() -> str | None:
    try:
        probe = subprocess.run([SYSTEM_PYTHON, str(_SCRIPT), "--check"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["no answer"])[-1]


def need_server() -> None:
    """Skip where GStreamer's RTSP server is not installed; fail in CI."""
    need(_problem() is None, f"no RTSP server ({_problem()}): `make test` installs the packages that make one")


class RtspServer:
    """A camera in a process of its own, on loopback. A killed one starts again on its port.

    still: a file with a raw I420 picture to show below the time stamp.
    """

    def __init__(self, size: str = "320x240", login: str = "", still: Path | None = None, fps: int = 25) -> None:
        self.size, self.login, self.still, self.fps = size, login, still, fps
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def url(self, login: str = "", port: int | None = None) -> str:
        return f"rtsp://{login + '@' if login else ''}127.0.0.1:{port or self.port}{PATH}"

    def start(self, *, mounted: bool = True) -> None:
        command = [SYSTEM_PYTHON, str(_SCRIPT), "--port", str(self.port), "--size", self.size, "--fps", str(self.fps)]
        command += ["--login", self.login] if self.login else []
        command += ["--still", str(self.still)] if self.still else []
        command += [] if mounted else ["--unmounted"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        word, _, port = self._process.stdout.readline().partition(" ")
        if word != "ready":
            self.kill()
            pytest.fail("the RTSP server did not start")
        self.port = int(port)

    def say(self, words: str) -> None:
        """Give an order and wait until it has been carried out."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline().startswith("done")

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def camera(size: str = "320x240", login: str = "", still: Path | None = None, fps: int = 25) -> Iterator[RtspServer]:
    """A running server; skips or fails where there is none to be had."""
    need_server()
    server = RtspServer(size, login, still, fps)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def write_still(path: Path, picture: Pixels) -> Path:
    """A file for `RtspServer`'s `still`, of a uint8 (H, W, 3) BGR picture."""
    path.write_bytes(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


def in_720p(portrait: Pixels) -> Pixels:
    """A grey 1280x720 picture with a 512x512 one in it, whose face is below the time."""
    picture = np.full((720, 1280, 3), 90, np.uint8)
    picture[150:662, 300:812] = portrait
    return picture


def read_stamp(image: Pixels) -> int | None:
    """The milliseconds of the monotonic clock drawn into a picture, modulo 2**32; None where the check sum is wrong."""
    cell = image.shape[1] // _PER_ROW
    inner = slice(cell // 4, cell - cell // 4)  # away from the edges, which compression smears
    bits = [
        image[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell][inner, inner].mean() > 128
        for row in range(_ROWS)
        for column in range(_PER_ROW)
    ]
    *data, check = np.packbits(bits).tolist()
    if sum(data) & 0xFF ^ 0xA5 != check:
        return None
    return int.from_bytes(bytes(data), "big")


def age_if_read(image: Pixels) -> float | None:
    """Seconds since the picture was made, by the time drawn into it; the clock is the one of both processes. None where
    the time cannot be read."""
    stamp = read_stamp(image)
    return None if stamp is None else ((time.monotonic_ns() // 1_000_000 - stamp) & 0xFFFFFFFF) / 1000


def age_s(image: Pixels) -> float:
    age = age_if_read(image)
    assert age is not None, "the picture carries no readable time"
    return age


def made_since(image: Pixels, moment: float) -> bool:
    """Whether the picture was made after that time of the monotonic clock; not where its own time cannot be read."""
    age = age_if_read(image)
    return age is not None and time.monotonic() - age > moment

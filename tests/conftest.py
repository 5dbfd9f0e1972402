"""What every test shares: real pictures, the shared data, and the rule for what is absent."""

import contextlib
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

import edge_app.inference.ort  # noqa: F401  before a test module loads ONNX Runtime with another library
from edge_app import redact
from edge_app.capture import demo

# A busy machine is no fault: no test here is about speed.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

ROOT = Path(__file__).resolve().parents[1]


def need(condition: object, reason: str) -> None:
    """Skip the test where `condition` is false; in CI, which has to have everything, fail it instead."""
    if not condition:
        if os.environ.get("CI"):
            pytest.fail(f"CI must be able to run this test: {reason}", pytrace=False)
        pytest.skip(reason)


def pytest_configure() -> None:
    """A suite started in the background or by nohup has these signals ignored, and so would have what it starts."""
    for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, action)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if (ROOT / "tests" / "integration") in item.path.parents:
            item.add_marker(pytest.mark.integration)
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared)


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests() -> None:
    """A password of one test may be an ordinary word in the messages of another."""
    redact.forget()


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the checkout's own config.yaml."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data's folder. It is no part of the repository, so its absence skips, in CI too."""
    folder = Path(os.environ.get("EDGE_APP_SHARED") or ROOT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip("no shared data: set EDGE_APP_SHARED, or put it into ../shared")
    return folder


@pytest.fixture(scope="session")
def astronaut() -> npt.NDArray[np.uint8]:
    """A real portrait, uint8 (512, 512, 3) BGR: one bare face near the top."""
    need(importlib.util.find_spec("skimage"), "scikit-image is missing: pip install scikit-image")
    from skimage.data import astronaut as portrait

    image: npt.NDArray[np.uint8] = np.ascontiguousarray(portrait()[..., ::-1])
    image.flags.writeable = False  # shared by the whole session
    return image


@pytest.fixture(scope="session")
def masked(astronaut: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same portrait, wearing the demo's drawn mask."""
    image = astronaut.copy()
    image[demo.CROP] = demo.draw_mask(astronaut[demo.CROP])
    image.flags.writeable = False
    return image


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the default models."""
    from edge_app.inference.model import models_dir

    folder = models_dir()
    for name in ("face_detector", "mask_classifier"):
        need((folder / name / "manifest.json").is_file(), f"no {name} in {folder}: `python -m export` makes it")
    return folder


@pytest.fixture(autouse=True)
def _no_real_time_threads() -> Iterator[None]:
    """SVT-AV1 makes threads real-time ones where it may, that of the tests too, and nothing else gets to run."""
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))

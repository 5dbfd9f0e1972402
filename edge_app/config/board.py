"""Which board this is, and the profile of performance settings that goes with it."""

import platform
from functools import cache
from pathlib import Path

PROFILE_KEYS = frozenset(
    {
        "detector.engine",
        "detector.input_size",
        "detector.threads",
        "classifier.precision",
        "classifier.provider",
        "classifier.threads",
    }
)  # the only keys a profile may set: a board changes how fast, never what is decided


def profile_path(name: str) -> Path:
    return Path(__file__).parent / "profiles" / f"{name}.yaml"


@cache
def profiles() -> tuple[str, ...]:
    """Names of the board profiles."""
    return tuple(sorted(path.stem for path in profile_path("any").parent.glob("*.yaml")))


def board_text() -> str:
    """What this machine calls itself: the device tree's model, else the CPU architecture."""
    try:
        model = Path("/proc/device-tree/model").read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        model = ""
    return model or platform.machine()


def detect_profile(board: str) -> str:
    """Profile for a board text such as `Raspberry Pi 4 Model B Rev 1.4` or `x86_64`; "" where none is known."""
    text = board.lower()
    names = {
        "raspberry pi 4": "pi4",
        "raspberry pi compute module 4": "pi4",
        "raspberry pi 400": "pi4",
        "raspberry pi 5": "pi5",
        "raspberry pi compute module 5": "pi5",
        "raspberry pi 500": "pi5",
        "jetson nano": "jetson_nano",
        "orin": "jetson_orin",
        "x86_64": "x86",
        "amd64": "x86",
        "i686": "x86",
    }
    return next((profile for name, profile in names.items() if name in text), "")

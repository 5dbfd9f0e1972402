"""ONNX Runtime with its telemetry switched off. Everything here and in the workshop imports it from this room.

From version 1.32 on it writes an identifier into the home folder and sends events to its vendor's server, unless this
variable is set before it is loaded; later is too late.
"""

import importlib
import os
from types import ModuleType

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime", "part"]


def part(name: str) -> ModuleType:
    """A submodule that `import onnxruntime` does not import: `part("quantization")` needs the `onnx` package."""
    return importlib.import_module(f"onnxruntime.{name}")

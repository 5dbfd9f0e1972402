"""ONNX Runtime, made to keep to itself. Everything here and in the workshop imports it from this room.

From its version 1.32 on it writes an identifier into the home folder and sends events to its vendor's server, unless
this variable is set when it is loaded; asking it to stop later is too late.
"""

import importlib
import os
from types import ModuleType

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime", "part"]


def part(name: str) -> ModuleType:
    """A submodule that `import onnxruntime` leaves out: `part("quantization")` needs the `onnx` package."""
    return importlib.import_module(f"onnxruntime.{name}")

"""Matplotlib, made to leave nothing behind: its list of fonts goes into a folder that lives as long as the program."""

import atexit
import os
import shutil
import tempfile
from types import ModuleType


def pyplot() -> ModuleType:
    """`matplotlib.pyplot` without a screen. Its folder in the home is not made, nor missed where it cannot be.

    Raises:
        ImportError: matplotlib is not installed.
    """
    if "MPLCONFIGDIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="edge_app-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = folder
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt

"""Matplotlib without traces: its font cache goes into a temporary folder, removed when the program ends."""

import atexit
import os
import shutil
import tempfile
from types import ModuleType


def pyplot() -> ModuleType:
    """`matplotlib.pyplot` with the Agg backend, no screen needed. Nothing is written into the home folder.

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

"""Where the shared data lie: training pictures and their labels, which are no part of the repository."""

import os
from pathlib import Path


def shared_data() -> Path:
    """The data folder: `EDGE_APP_SHARED`/data, else ../shared/data beside the checkout."""
    root = os.environ.get("EDGE_APP_SHARED") or Path(__file__).resolve().parents[3] / "shared"
    return Path(root) / "data"

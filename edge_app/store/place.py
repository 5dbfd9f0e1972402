"""Where the store lies."""

import os
from collections.abc import Mapping
from pathlib import Path

from edge_app.config.settings import StoreSettings


def store_path(settings: StoreSettings, environment: Mapping[str, str] = os.environ) -> Path:
    """`store.path`, or a file in the state directory where events wait for their delivery alone."""
    return settings.path or state_dir(environment) / "events.db"


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for what a program must find again after a restart: systemd's, or that of the XDG specification."""
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    home = environment.get("XDG_STATE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".local" / "state") / "edge_app"  # noqa: PTH117

"""Where the store lies."""

import os
from collections.abc import Mapping
from pathlib import Path

from edge_app.config.settings import StoreSettings
from edge_app.errors import SinkError


def store_path(settings: StoreSettings, environment: Mapping[str, str] = os.environ) -> Path:
    """`store.path`, or a file in the state directory where events wait for their delivery alone."""
    return settings.path or state_dir(environment) / "events.db"


def state_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder for what a program must find again after a restart: systemd's, or that of the XDG specification.

    Raises:
        SinkError: there is none, for the user has no home.
    """
    if given := environment.get("STATE_DIRECTORY"):
        first = Path(given.split(":")[0])
        if first.is_absolute():  # as systemd gives it
            return first
    home = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(home):  # noqa: PTH117  as the specification has it
        return Path(home) / "edge_app"
    try:
        return Path.home() / ".local" / "state" / "edge_app"
    except RuntimeError:
        raise SinkError("the store: this user has no home folder to keep events in", "set store.path") from None

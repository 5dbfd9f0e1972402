"""The summary of a run as a JSON file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_app.errors import SinkError
from edge_app.outputs import files


def check_summary(path: Path) -> None:
    """Raises: SinkError: the file cannot be written there. What is there stays as it is."""
    try:
        files.check_replaceable(path)
    except OSError as error:
        raise SinkError(f"{path}: the summary cannot be written here ({error.strerror})") from None


def write_summary(path: Path, facts: Mapping[str, Any], mode: int = files.PRIVATE) -> None:
    """Write the file, whole or not at all. mode: permissions of a new one.

    Raises:
        SinkError: it cannot be written.
    """
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    try:
        # File names may hold bytes that are no text; so written they are JSON's own escapes.
        files.replace(path, text.encode("utf-8", "backslashreplace"), mode)
    except OSError as error:
        raise SinkError(f"{path}: the summary cannot be written ({error.strerror})") from None

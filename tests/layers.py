"""Configuration in an empty folder: what the layers resolve to, and the one line that refuses them."""

from pathlib import Path
from typing import Any

import pytest

from edge_app.config.layers import Resolved, resolve
from edge_app.errors import UsageError


def resolved(text: str | None = None, **arguments: Any) -> Resolved:
    """`text` is the config.yaml of the working directory."""
    if text is not None:
        Path("config.yaml").write_text(text, encoding="utf-8")
    return resolve(**{"environment": {}, "board": "unknown board", **arguments})


def error(text: str | None = None, **arguments: Any) -> str:
    with pytest.raises(UsageError) as caught:
        resolved(text, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message

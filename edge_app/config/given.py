"""What a layer gives: a value and where it stands; and the line that refuses a value."""

import reprlib
from typing import Any, NamedTuple

from edge_app.config.keys import expected, secret_keys
from edge_app.errors import UsageError
from edge_app.redact import redact


class Given(NamedTuple):
    """A value and the layer that set it, worded for people: `config.yaml line 3`, `environment EDGE_APP__…`."""

    value: Any
    layer: str


def bad_value(key: str, value: Any, layer: str) -> UsageError:
    known = f"source.{key.partition('.')[2]}" if key.startswith("sources[") else key
    hidden = known in ("source.uri", "source.username") or known in secret_keys()
    shown = "…" if hidden else _shown_value(value)
    return UsageError(f"{layer}: {key} = {shown}: expected {expected(known)}")


def _shown_value(value: Any) -> str:
    try:
        shown = value if isinstance(value, str) and 0 < len(value) < 80 and value.isprintable() else reprlib.repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return "…"
    return redact(shown)

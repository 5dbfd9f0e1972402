"""What `edge-app config` shows: every setting with the layer that set it, credentials masked."""

from typing import Any

import yaml

from edge_app.config.keys import secret_keys, values
from edge_app.config.layers import Resolved
from edge_app.redact import redact, shown_source
from edge_app.source_text import MASK


def shown(resolved: Resolved) -> dict[str, Any]:
    """Dotted key -> value, masked; in place of `sources` what each of its items sets itself, as `sources[0].uri`."""
    return {key: _shown_value(key, value) for key, value in _flat(resolved).items()}


def _flat(resolved: Resolved) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values(resolved.settings).items():
        if key != "sources" or value is None:
            flat[key] = value
            continue
        for number, item in enumerate(value):
            own = {f"sources[{number}].{leaf}": part for leaf, part in item.items()}
            flat |= {name: part for name, part in own.items() if name in resolved.origin}
    return flat


def _shown_value(key: str, value: Any) -> Any:
    known = f"source.{key.partition('.')[2]}" if key.startswith("sources[") else key
    if known in secret_keys():
        return None if value is None else MASK
    if key.endswith(".uri") and isinstance(value, str):
        return shown_source(value)
    return redact(value) if isinstance(value, str) else value


def to_yaml(resolved: Resolved) -> list[str]:
    """Lines that can be saved as config.yaml, the layer of each value in a comment.

    What is masked becomes a comment as a whole, or the mask would be read as the value; only a `uri` stays, for the
    address in it.
    """
    lines, section = [], ""
    values = _flat(resolved)
    for key, value in shown(resolved).items():
        *parents, leaf = key.split(".")
        item = bool(parents) and parents[0].startswith("sources[")
        indent = ("    " if parents[0] == section else "  - ") if item else "  " * len(parents)
        if parents and parents[0] != section:
            section = parents[0]
            if section == "sources[0]" or not item:
                lines.append("sources:" if item else f"{section}:")
        text = yaml.safe_dump(value, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
        if leaf != "uri" and value != values[key]:
            lines.append(f"{indent}# {leaf}: not shown  # {resolved.origin[key]}")
        else:
            lines.append(f"{indent}{leaf}: {text}  # {resolved.origin[key]}")
    return lines

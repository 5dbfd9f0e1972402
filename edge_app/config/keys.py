"""Every setting by its dotted key: what there is, what it takes, which one a mistyped key meant."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from edge_app.config.settings import Settings
from edge_app.errors import UsageError


@cache
def keys() -> dict[str, FieldInfo]:
    """Every setting: dotted key -> its field."""
    return dict(_walk(Settings, ""))


@cache
def secret_keys(section: str = "") -> dict[str, str]:
    """Key of each secret -> the key that names its file: dotted ones, or those within a `section.`."""
    kinds = {key: (field.annotation, *get_args(field.annotation)) for key, field in keys().items()}
    found = [key.removeprefix(section) for key, kind in kinds.items() if SecretStr in kind and key.startswith(section)]
    return {key: f"{key}_file" for key in found}


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def values(settings: Settings) -> dict[str, Any]:
    """Dotted key -> value, JSON types only."""
    flat: dict[str, Any] = {}
    tree = settings.model_dump(mode="json")
    for key in keys():
        node: Any = tree
        for part in key.split("."):
            node = node[part]
        flat[key] = node
    return flat


@cache
def _schema() -> dict[str, Any]:
    return Settings.model_json_schema()


def expected(key: str) -> str:
    """What a key takes, in words: `an integer from 96 to 2048`."""
    node = _schema()
    for part in key.split("."):
        if "$ref" in node:
            node = _schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
        node = node["properties"][part]
    return " or ".join(_describe(option) for option in node.get("anyOf", [node]))


def _describe(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    if kind == "array":
        return "a list of sources such as [{camera: door, uri: /dev/video0}]"
    if schema.get("format") == "password":
        return "text (a number in quotes)"
    if schema.get("pattern") == "^[^:]+$":
        return "text without a colon"
    if kind not in ("integer", "number"):
        path = schema.get("format") == "path"
        return {"string": "a path" if path else "text", "boolean": "true or false"}.get(str(kind), str(kind))
    words = ["an integer" if kind == "integer" else "a number"]
    if "minimum" in schema:
        words.append(f"from {schema['minimum']:g}" if "maximum" in schema else f"of at least {schema['minimum']:g}")
    if "exclusiveMinimum" in schema:
        words.append(f"above {schema['exclusiveMinimum']:g}")
    if "maximum" in schema:
        words.append(f"{'to' if 'minimum' in schema else 'up to'} {schema['maximum']:g}")
    return " ".join(words)


def check_key(key: str, layer: str) -> None:
    if key in keys():
        return
    message = f"{layer}: unknown setting {shown_key(key)!r}"
    near = nearest_keys(key)
    raise UsageError(f"{message}; did you mean {near[0]!r}?" if near else f"{message}; `edge-app config` lists them")


def nearest_keys(key: str) -> list[str]:
    """The setting that a mistyped key most likely meant, if any."""
    near = difflib.get_close_matches(key[:200], keys(), n=1, cutoff=0.6)
    if not near:  # right name, wrong or missing section
        leaves = {known.rsplit(".", 1)[-1]: known for known in keys()}
        leaf = key[-200:].rsplit(".", 1)[-1]
        near = [leaves[match] for match in difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7)]
    return near


def shown_key(key: str) -> str:
    """A key as it may be printed: what is no word may be a source that somebody wrote in the wrong place."""
    return key if re.fullmatch(r"[\w.?\[\]-]{1,80}", key) else "…"


def check_camera_key(item: str, key: str, layer: str) -> None:
    """As `check_key`, for a key of `item`, which is `sources[1]` or the like."""
    if f"source.{key}" in keys():
        return
    known = [name.removeprefix("source.") for name in keys() if name.startswith("source.")]
    near = difflib.get_close_matches(key[:200], known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
    raise UsageError(f"{layer}: unknown setting '{item}.{shown_key(key)}'; {hint}")

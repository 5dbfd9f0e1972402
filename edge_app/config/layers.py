"""Settings from their layers, weakest first: defaults < board profile < config.yaml < environment < command line.

Takes what the user gave, gives `Resolved`: validated settings, and for every key the layer its value came from.
Everything is merged first and validated once. An error names the key, the layer and what was expected.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from edge_app.config import plain_yaml
from edge_app.config.board import board_text, detect_profile, profile_path, profiles
from edge_app.config.cameras import cameras_of, check_logins, check_sources, with_common
from edge_app.config.environment import settings_of
from edge_app.config.given import Given, bad_value
from edge_app.config.keys import check_key, expected, keys, secret_keys, shown_key
from edge_app.config.plain_yaml import BadYaml
from edge_app.config.secrets import read_secrets
from edge_app.config.settings import Settings
from edge_app.errors import UsageError

__all__ = ["DEFAULT_CONFIG", "Given", "Resolved", "read_yaml", "resolve"]

DEFAULT_CONFIG = Path("config.yaml")


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, the layer of every dotted key, and the board profile in use.

    Keys such as `sources[0].uri` are in `origin` where the item itself gives them.
    """

    settings: Settings
    origin: dict[str, str]
    profile: str


def resolve(
    *,
    config: Path | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, Given] | None = None,
    environment: Mapping[str, str] = os.environ,
    board: str | None = None,
) -> Resolved:
    """Merge the layers and validate the result.

    Args:
        config: YAML file; None takes ./config.yaml where there is one.
        assignments: `section.key=value` texts of `--set`.
        flags: dotted key -> what a command-line flag gave; stronger than `assignments`.
        environment: where `EDGE_APP__SECTION__KEY` variables are looked up.
        board: text that names the board; None asks the machine.

    Raises:
        UsageError: unreadable file, unknown key, wrong type or value out of range, or a secret given in two ways.
    """
    user: dict[str, Given] = {}
    if config is not None or os.path.lexists(DEFAULT_CONFIG):
        user |= read_yaml(Path(os.path.expanduser(config)) if config else DEFAULT_CONFIG)  # noqa: PTH111
    user |= _from_environment(environment)
    user |= _from_assignments(assignments)
    user |= flags or {}
    if flags and "source.uri" in flags and "sources" in user:  # who names one source means that one
        user["sources"] = Given(None, flags["source.uri"].layer)

    profile = user["profile"].value if "profile" in user else "auto"
    if profile == "auto":
        profile = detect_profile(board_text() if board is None else board)
    given = {}
    if profile in profiles():  # any other name fails in the validation below
        values = read_yaml(profile_path(profile))
        given = {key: Given(value, f"profile {profile}") for key, (value, _) in values.items()}
    given |= user
    cameras = cameras_of(given)
    read_secrets(given, cameras)
    check_sources(given, cameras)
    check_logins(given, cameras)
    settings = _validate(given, cameras)
    origin = {key: given[key].layer if key in given else "default" for key in keys()}
    origin |= {f"sources[{n}].{key}": layer for n, camera in enumerate(cameras) for key, (_, layer) in camera.items()}
    return Resolved(settings, origin, profile)


# --- layers -------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> dict[str, Given]:
    """The settings of one YAML file, flat, each with its line. Unknown and doubled keys are errors."""
    text = plain_yaml.read_text(path)
    flat: dict[str, Given] = {}
    try:
        root = plain_yaml.compose(text)
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{path} line 1: expected sections such as `detector:`, found a single value or a list")
        if root is not None:
            _read_mapping(root, "", lambda node: f"{path} line {node.start_mark.line + 1}", flat)
    except BadYaml as error:
        raise UsageError(f"{path}{f' line {error.line}' if error.line else ''}: {error}") from None
    return flat


_Layer = Callable[[yaml.Node], str]  # words for where a node stands


def _read_mapping(node: yaml.MappingNode, prefix: str, layer_of: _Layer, flat: dict[str, Given]) -> None:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key = f"{prefix}{key_node.value}" if isinstance(key_node, yaml.ScalarNode) else f"{prefix}?"
        layer = layer_of(key_node)
        if key in seen:
            raise UsageError(f"{layer}: {shown_key(key)} is set twice")
        seen.add(key)
        section = any(known.startswith(f"{key}.") for known in keys())
        if section and isinstance(value_node, yaml.MappingNode):
            _read_mapping(value_node, f"{key}.", layer_of, flat)
        elif section:
            if plain_yaml.value(value_node) is not None:
                raise UsageError(f"{layer}: {key} is a section: write its settings below it, indented")
        else:
            check_key(key, layer)
            flat[key] = Given(_read_value(key, value_node, layer_of), layer)


def _read_value(key: str, node: yaml.Node, layer_of: _Layer) -> Any:
    if key == "sources" and isinstance(node, yaml.SequenceNode):
        return _read_items(node, layer_of)
    return plain_yaml.value(node)


def _read_items(node: yaml.SequenceNode, layer_of: _Layer) -> list[Any]:
    """The items of `sources`, the keys of each with their lines."""
    items: list[Any] = []
    for item in node.value:
        camera: dict[str, Given] = {}
        for key_node, value_node in item.value if isinstance(item, yaml.MappingNode) else ():
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            if key in camera:
                raise UsageError(f"{layer_of(key_node)}: sources[{len(items)}].{shown_key(key)} is set twice")
            camera[key] = Given(plain_yaml.value(value_node), layer_of(key_node))
        plain = camera if isinstance(item, yaml.MappingNode) else plain_yaml.value(item)
        items.append(Given(plain, layer_of(item)))
    return items


def _from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    return {key: _from_text(key, text, f"environment {name}") for name, key, text in settings_of(environment)}


def _from_assignments(assignments: Iterable[str]) -> dict[str, Given]:
    flat = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {shown_key(assignment)}: expected section.key=value")
        key = key.strip()
        flat[key] = _from_text(key, text if key in secret_keys() else text.strip(), "--set")
    return flat


def _from_text(key: str, text: str, layer: str) -> Given:
    """Text stays text, pydantic converts it; only `null` has to be said here."""
    check_key(key, layer)
    optional = " or null" in expected(key)
    if optional and text.lower() in ("", "null", "none", "~"):
        return Given(None, layer)
    if key == "sources":  # a list, written as YAML or JSON
        try:
            node = plain_yaml.compose(text)
            return Given(node and _read_value(key, node, lambda _: layer), layer)
        except BadYaml as error:
            raise UsageError(f"{layer}: {key}: {error}; expected {expected(key)}") from None
    return Given(text, layer)


# --- validation ---------------------------------------------------------------------------------------------------


def _validate(given: Mapping[str, Given], cameras: list[dict[str, Given]]) -> Settings:
    tree: dict[str, Any] = {}
    for key, (value, layer) in given.items():
        if key == "sources":
            continue
        if isinstance(value, bool) and "true or false" not in expected(key):  # pydantic would take it for 0 or 1
            raise bad_value(key, value, layer)
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    source = tree.get("source", {})
    if cameras:
        tree["sources"] = [with_common(source, camera) for camera in cameras]
    elif "uri" in source and given["source.uri"].layer == "SOURCE":
        tree["source"] = with_common(source, {"uri": given["source.uri"]})
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    if parts[0] == "sources" and len(parts) > 2:  # a bad key of the section is met in the section before
        number, leaf = int(parts[1]), parts[2]
        raise bad_value(f"sources[{number}].{leaf}", *cameras[number][leaf])
    key = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in given), "")
    if key:
        raise bad_value(key, *given[key])
    section = ".".join(parts)
    involved = ", ".join(f"{k} from {layer}" for k, (_, layer) in given.items() if k.startswith(f"{section}."))
    raise UsageError(f"{section}: {first['msg'].removeprefix('Value error, ')} ({involved})")

"""Settings from their layers, weakest first: defaults < board profile < config.yaml < environment < command line.

Takes what the user gave, gives `Resolved`: validated settings, and for every key the layer its value came from.
Everything is merged first and validated once. An error names the key, the layer and what was expected.
"""

import os
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from edge_app.board import board_text, detect_profile, profile_path, profiles
from edge_app.errors import UsageError
from edge_app.setting_keys import check_key, expected, keys
from edge_app.settings import Settings

DEFAULT_CONFIG = Path("config.yaml")
ENVIRONMENT_PREFIX = "EDGE_APP__"


class Given(NamedTuple):
    """A value and the layer that set it, worded for people: `config.yaml line 3`, `environment EDGE_APP__…`."""

    value: Any
    layer: str


@dataclass(frozen=True)
class Resolved:
    """The settings of a run, the layer of every dotted key, and the board profile in use."""

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
        UsageError: unreadable file, unknown key, wrong type or value out of range.
    """
    user: dict[str, Given] = {}
    if config is not None or DEFAULT_CONFIG.is_file():
        user |= read_yaml(config or DEFAULT_CONFIG)
    user |= _from_environment(environment)
    user |= _from_assignments(assignments)
    user |= flags or {}

    profile = user["profile"].value if "profile" in user else "auto"
    if profile == "auto":
        profile = detect_profile(board_text() if board is None else board)
    given = {}
    if profile in profiles():  # any other name fails in the validation below
        values = read_yaml(profile_path(profile))
        given = {key: Given(value, f"profile {profile}") for key, (value, _) in values.items()}
    given |= user
    settings = _validate(given)
    origin = {key: given[key].layer if key in given else "default" for key in keys()}
    return Resolved(settings, origin, profile)


# --- layers -------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> dict[str, Given]:
    """The settings of one YAML file, flat, each with its line. Unknown and doubled keys are errors."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start}); is it a YAML file?") from None
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None or root.tag == "tag:yaml.org,2002:null":
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise UsageError(f"{path} line 1: expected sections such as `detector:`, found a single value or a list")
        flat: dict[str, Given] = {}
        _read_mapping(root, "", path, loader, flat)
        return flat
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path} line {mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise UsageError(f"{path}: not valid YAML: nested too deeply") from None
    finally:
        if loader is not None:
            loader.dispose()


def _read_mapping(
    node: yaml.MappingNode, prefix: str, path: Path, loader: yaml.SafeLoader, flat: dict[str, Given]
) -> None:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key = f"{prefix}{key_node.value}" if isinstance(key_node, yaml.ScalarNode) else f"{prefix}?"
        layer = f"{path} line {key_node.start_mark.line + 1}"
        if key in seen:
            raise UsageError(f"{layer}: {key} is set twice")
        seen.add(key)
        section = any(known.startswith(f"{key}.") for known in keys())
        if section and isinstance(value_node, yaml.MappingNode):
            _read_mapping(value_node, f"{key}.", path, loader, flat)
        elif section:
            if loader.construct_object(value_node, deep=True) is not None:
                raise UsageError(f"{layer}: {key} is a section: write its settings below it, indented")
        else:
            check_key(key, layer)
            value = loader.construct_object(value_node, deep=True)
            flat[key] = Given(value, layer)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Given]:
    flat = {}
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            flat[key] = _from_text(key, environment[name], f"environment {name}")
    return flat


def _from_assignments(assignments: Iterable[str]) -> dict[str, Given]:
    flat = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}: expected section.key=value")
        flat[key.strip()] = _from_text(key.strip(), text.strip(), "--set")
    return flat


def _from_text(key: str, text: str, layer: str) -> Given:
    """Text stays text, pydantic converts it; only `null` has to be said here."""
    check_key(key, layer)
    optional = " or null" in expected(key)
    return Given(None if optional and text.lower() in ("", "null", "none", "~") else text, layer)


# --- validation ---------------------------------------------------------------------------------------------------


def _validate(given: Mapping[str, Given]) -> Settings:
    tree: dict[str, Any] = {}
    for key, (value, layer) in given.items():
        if isinstance(value, bool) and "true or false" not in expected(key):  # pydantic would take it for 0 or 1
            raise _bad_value(key, value, layer)
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    key = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in given), "")
    if key:
        raise _bad_value(key, *given[key])
    section = ".".join(parts)
    involved = ", ".join(f"{k} from {layer}" for k, (_, layer) in given.items() if k.startswith(f"{section}."))
    raise UsageError(f"{section}: {first['msg'].removeprefix('Value error, ')} ({involved})")


def _bad_value(key: str, value: Any, layer: str) -> UsageError:
    shown = value if isinstance(value, str) and len(value) < 80 else reprlib.repr(value)
    return UsageError(f"{layer}: {key} = {shown or repr(shown)}: expected {expected(key)}")

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
from edge_app.setting_keys import check_camera_key, check_key, expected, keys
from edge_app.settings import Settings

DEFAULT_CONFIG = Path("config.yaml")
ENVIRONMENT_PREFIX = "EDGE_APP__"


class Given(NamedTuple):
    """A value and the layer that set it, worded for people: `config.yaml line 3`, `environment EDGE_APP__…`."""

    value: Any
    layer: str


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
        UsageError: unreadable file, unknown key, wrong type or value out of range.
    """
    user: dict[str, Given] = {}
    if config is not None or DEFAULT_CONFIG.is_file():
        user |= read_yaml(config or DEFAULT_CONFIG)
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
    cameras = _cameras(given)
    settings = _validate(given, cameras)
    origin = {key: given[key].layer if key in given else "default" for key in keys()}
    origin |= {f"sources[{n}].{key}": layer for n, camera in enumerate(cameras) for key, (_, layer) in camera.items()}
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
            if key == "sources" and isinstance(value_node, yaml.SequenceNode):
                flat[key] = Given(_read_items(value_node, path, loader), layer)
            else:
                flat[key] = Given(loader.construct_object(value_node, deep=True), layer)


def _read_items(node: yaml.SequenceNode, path: Path, loader: yaml.SafeLoader) -> list[Any]:
    """The items of `sources`, the keys of each with their lines."""
    items: list[Any] = []
    for item in node.value:
        layer = f"{path} line {item.start_mark.line + 1}"
        camera: dict[str, Given] = {}
        for key_node, value_node in item.value if isinstance(item, yaml.MappingNode) else ():
            line = f"{path} line {key_node.start_mark.line + 1}"
            key = str(key_node.value)
            if key in camera:
                raise UsageError(f"{line}: sources[{len(items)}].{key} is set twice")
            camera[key] = Given(loader.construct_object(value_node, deep=True), line)
        plain = camera if isinstance(item, yaml.MappingNode) else loader.construct_object(item, deep=True)
        items.append(Given(plain, layer))
    return items


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
    if optional and text.lower() in ("", "null", "none", "~"):
        return Given(None, layer)
    if key == "sources":  # a list, written as YAML or JSON
        try:
            return Given(yaml.safe_load(text), layer)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UsageError(f"{layer}: {key}: not valid YAML: expected {expected(key)}") from None
    return Given(text, layer)


# --- validation ---------------------------------------------------------------------------------------------------


def _cameras(given: Mapping[str, Given]) -> list[dict[str, Given]]:
    """The items of `sources`: what each gives, its name included; none where `source` stands alone.

    Raises:
        UsageError: an item that is no mapping, an unknown key, no uri, or a name that another item has.
    """
    value: Any = given["sources"].value if "sources" in given else None
    layer = given["sources"].layer if "sources" in given else ""
    if value is not None and not isinstance(value, list):
        raise _bad_value("sources", "…", layer)  # the text may hold credentials
    cameras: list[dict[str, Given]] = []
    names: dict[str, int] = {}
    for number, item in enumerate(value or ()):
        keys_of, line = item if isinstance(item, Given) else Given(item, layer)
        where = f"sources[{number}]"
        if not isinstance(keys_of, dict):
            raise UsageError(f"{line}: {where}: expected the keys of a source, such as {{camera: door, uri: …}}")
        camera = {str(k): v if isinstance(v, Given) else Given(v, line) for k, v in keys_of.items()}
        for key, (part, from_) in camera.items():
            check_camera_key(where, key, from_)
            if isinstance(part, bool) and "true or false" not in expected(f"source.{key}"):
                raise _bad_value(f"{where}.{key}", part, from_)
        if "uri" not in camera:
            raise UsageError(f"{line}: {where}.uri is missing: every camera needs its own")
        name = camera.setdefault("camera", Given(f"camera{number + 1}", "default"))
        first = names.setdefault(str(name.value), number)
        if first != number:
            at = line if name.layer == "default" else name.layer
            raise UsageError(
                f"{at}: {where}.camera = {name.value}: expected a name of its own, sources[{first}] has it too"
            )
        cameras.append(camera)
    return cameras


def _validate(given: Mapping[str, Given], cameras: list[dict[str, Given]]) -> Settings:
    tree: dict[str, Any] = {}
    for key, (value, layer) in given.items():
        if key == "sources":
            continue
        if isinstance(value, bool) and "true or false" not in expected(key):  # pydantic would take it for 0 or 1
            raise _bad_value(key, value, layer)
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    if cameras:
        common = tree.get("source", {})
        tree["sources"] = [{**common, **{key: value for key, (value, _) in camera.items()}} for camera in cameras]
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    if parts[0] == "sources":  # a bad key of the section is met in the section before
        number, leaf = int(parts[1]), parts[2]
        raise _bad_value(f"sources[{number}].{leaf}", *cameras[number][leaf])
    key = next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in given), "")
    if key:
        raise _bad_value(key, *given[key])
    section = ".".join(parts)
    involved = ", ".join(f"{k} from {layer}" for k, (_, layer) in given.items() if k.startswith(f"{section}."))
    raise UsageError(f"{section}: {first['msg'].removeprefix('Value error, ')} ({involved})")


def _bad_value(key: str, value: Any, layer: str) -> UsageError:
    shown = value if isinstance(value, str) and len(value) < 80 else reprlib.repr(value)
    known = f"source.{key.partition('.')[2]}" if key.startswith("sources[") else key
    return UsageError(f"{layer}: {key} = {shown or repr(shown)}: expected {expected(known)}")

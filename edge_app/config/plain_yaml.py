"""YAML as a configuration needs it: text that comes from anywhere in, nodes with line numbers and plain values out.

No aliases, merges or tags, and a bound on everything: what is refused is refused before anything is built from it.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml

from edge_app.errors import UsageError

MAX_BYTES = 256 * 1024
MAX_NODES = 15_000  # 256 cameras that set every key stay below
MAX_DEPTH = 20
_LONGEST_NUMBER = 40  # characters

_PLAIN = "tag:yaml.org,2002:"
_TEXT = f"{_PLAIN}str"
_NUMBERS = (f"{_PLAIN}int", f"{_PLAIN}float")
_KINDS = {_TEXT, *_NUMBERS, f"{_PLAIN}bool", f"{_PLAIN}null", f"{_PLAIN}seq", f"{_PLAIN}map"}


class BadYaml(Exception):
    """Not the YAML we take. line: counted from 1, None where unknown."""

    def __init__(self, problem: str, mark: yaml.Mark | None = None) -> None:
        super().__init__(problem)
        self.line = mark.line + 1 if mark else None


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise BadYaml("aliases (*name) are not supported: write the value out, or in quotes if it is text", mark)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise BadYaml(f"more than {MAX_NODES} values: no configuration needs so many", mark)
        if self._depth == MAX_DEPTH:
            raise BadYaml("not valid YAML: nested too deeply", mark)
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node: yaml.ScalarNode = super().compose_scalar_node(anchor)
        if node.tag in _NUMBERS and (":" in node.value or len(node.value) > _LONGEST_NUMBER):
            node.tag = _TEXT  # 12:30 is no number of ours, and one that long is none at all
        _check_kind(node)
        return node

    def compose_sequence_node(self, anchor: Any) -> yaml.SequenceNode:
        node: yaml.SequenceNode = super().compose_sequence_node(anchor)
        _check_kind(node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        _check_kind(node)
        return node


def _check_kind(node: yaml.Node) -> None:
    if node.tag == f"{_PLAIN}timestamp":
        raise BadYaml("a date is no value here: write it in quotes if it is text", node.start_mark)
    if node.tag == f"{_PLAIN}merge" or node.tag == f"{_PLAIN}value":
        node.tag = _TEXT  # `<<` and `=` are no keys of ours
    if node.tag not in _KINDS:
        raise BadYaml("tags (!name) are not supported: leave it out, or write text in quotes", node.start_mark)


def compose(text: str) -> yaml.Node | None:
    """The tree of a text; None where it holds nothing.

    Raises:
        BadYaml: not YAML, or more of it than a configuration may have. The message quotes nothing of the text.
    """
    if len(text) > MAX_BYTES:
        raise BadYaml(f"more than {MAX_BYTES // 1024} KiB: no configuration needs so much")
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYaml(f"not valid YAML: {_unquoted(error.problem or error.context or '')}", mark) from None
    except yaml.reader.ReaderError:
        raise BadYaml("not valid YAML: it holds control characters, or is no text at all") from None
    except RecursionError:
        raise BadYaml("not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # such as \UFFFFFFFF, which is no character
        raise BadYaml("not valid YAML") from None
    finally:
        if loader is not None:
            loader.dispose()
    return None if node is None or node.tag == f"{_PLAIN}null" else node


def value(node: yaml.Node) -> Any:
    """The plain value of a node: text, number, true, false, None, or lists and dicts of those.

    Raises:
        BadYaml: it cannot be built.
    """
    try:
        return yaml.constructor.SafeConstructor().construct_object(node, deep=True)
    except yaml.MarkedYAMLError as error:
        raise BadYaml(f"not valid YAML: {_unquoted(error.problem or '')}", node.start_mark) from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise BadYaml("expected a plain value; write text in quotes", node.start_mark) from None


def _unquoted(problem: str) -> str:
    """What a parser complains of, without the text that it quotes: that may be a password."""
    return re.sub(r"'([^'<][^']+)'", "'…'", problem)


def read_text(path: Path) -> str:
    """A configuration file's text.

    Raises:
        UsageError: no such file, no regular file, too large, or not UTF-8.
    """
    try:
        # Not to wait for the writer of a FIFO: what the path is, is known only once it is open.
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise UsageError(
                    f"{path}: cannot be read: a configuration is a regular file, no pipe, device or socket"
                )
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: cannot be read: a folder, and no configuration file") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise UsageError("--config: not the name of a file: it holds a NUL") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: larger than {MAX_BYTES // 1024} KiB; is it a configuration file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text (byte {error.start}); is it a YAML file?") from None

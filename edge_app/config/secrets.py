"""Settings that are secrets, of the type `SecretStr`, and the files that they are read from.

A secret `x` stands in a layer itself, or in the file that `x_file` names. `resolve` reads the file, so everybody else
finds the secret in `x`.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from edge_app.config.given import Given
from edge_app.config.keys import secret_keys
from edge_app.config.settings import Settings
from edge_app.errors import UsageError
from edge_app.redact import register
from edge_app.text import printable

MAX_BYTES = 4096  # no password is longer, and a token seldom is


def read_secrets(given: dict[str, Given], cameras: list[dict[str, Given]]) -> None:
    """Put what the files hold in the place of the secrets, and see to it that no secret is shown from now on.

    Raises:
        UsageError: a secret that is given itself and as a file, or a file that does not hold one.
    """
    sections = [("", given, secret_keys())]
    sections += [(f"sources[{number}].", camera, secret_keys("source.")) for number, camera in enumerate(cameras)]
    for prefix, section, secrets in sections:
        for key, file in secrets.items():
            here, there = (section.get(name, Given(None, "")) for name in (key, file))
            if here.value is not None:
                with suppress(ValueError):  # Python does not write integers of thousands of digits
                    register(str(here.value))  # a number is none that can be used, and a secret all the same
            if here.value is not None and there.value is not None:
                raise UsageError(
                    f"{prefix}{key} ({here.layer}) and {prefix}{file} ({there.layer}) are both given: keep one of them"
                )
            if not isinstance(there.value, str | Path):
                continue  # none, or nothing that names a file, which is told with all other wrong values
            try:
                section[key] = Given(read_secret(there.value), f"{there.layer} ({file})")
            except ValueError as wrong:
                name = printable(str(there.value))[:200]
                raise UsageError(
                    f"{there.layer}: {prefix}{file}: {name}: {wrong}: expected a file whose only line is the secret"
                ) from None
            register(section[key].value)


def secret_of(section: BaseModel, name: str) -> str | None:
    """The secret of a section, from its file where `resolve` has not read it, as for settings made in Python.

    Raises:
        UsageError: the file does not hold one.
    """
    value, path = getattr(section, name), getattr(section, f"{name}_file")
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if path is None:
        return None
    try:
        text = read_secret(path)
    except ValueError as wrong:
        raise UsageError(
            f"{name}_file: {printable(str(path))[:200]}: {wrong}", "expected a secret on one line"
        ) from None
    register(text)
    return text


def read_secret(path: str | Path) -> str:
    """The only line of a file, without its end.

    Raises:
        ValueError: it cannot be read, or is not one line of UTF-8; says what is wrong, and nothing of what is in it.
    """
    try:
        # Not to wait for the writer of a FIFO: what the path is, is known only once it is open.
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # noqa: PTH111
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("not a regular file")
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    line = text.removesuffix("\n").removesuffix("\r")
    if not line:
        raise ValueError("it is empty")
    if "\n" in line or "\r" in line:
        raise ValueError("more than one line")
    if "\0" in line:
        raise ValueError("it holds a NUL")
    return line


def revealed(settings: Settings, exclude: set[str] | None = None) -> dict[str, Any]:
    """The settings as JSON types, secrets in the clear: what a config.yaml holds, and for a private file alone.

    exclude: top-level keys that are left out, as is whatever is null.
    """
    tree: dict[str, Any] = settings.model_dump(mode="json", exclude=exclude, exclude_none=True)
    for section, values in _sections(settings, tree):
        for name, value in section:
            if isinstance(value, SecretStr):
                values[name] = value.get_secret_value()
                values.pop(f"{name}_file", None)
    return tree


def _sections(section: BaseModel, tree: dict[str, Any]) -> Iterator[tuple[BaseModel, dict[str, Any]]]:
    """A section and those in it, each with its part of the tree."""
    yield section, tree
    for name, value in section:
        several = isinstance(value, tuple)
        if name in tree:
            for part, values in zip(value, tree[name], strict=True) if several else [(value, tree[name])]:
                if isinstance(part, BaseModel):
                    yield from _sections(part, values)

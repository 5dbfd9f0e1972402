"""Configurations: our own config.yaml with hostile YAML, keys and values, resolved and shown."""

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

from edge_app.config.keys import values
from edge_app.config.settings import Settings
from tests.command import ROOT
from tests.fuzz.command import Sandbox, one_error, strict_json
from tests.fuzz.mutate import damaged
from tests.fuzz.result import Result

BATCH = 50
CEILING_MIB = 1024
SECRET = "hunter2Q7x"  # must never be seen
SHARE = 5  # this many of each batch go through the command line too

_URLS = (
    f"rtsp://admin:{SECRET}@127.0.0.1/s1", f"rtsp://admin:{SECRET}#1@127.0.0.1/s1", f"rtsp://admin:P@{SECRET}@cam/s",
    f"rtsp://cam/s?user=admin&password={SECRET}", f"http://{SECRET}@cam/x.mjpg", f"rtsp://admin:12#{SECRET}@cam:554/s",
    f"rtsp://admin:{SECRET}@[::1", f"rtsp://a:{SECRET}@cam:99999/x", f"rtsps://u:/{SECRET}@cam/", f"RTSP://u:{SECRET}@c",
    f"rtsp://cam/user=admin_password={SECRET}_channel=1", f"rtsp://cam/?usr=admin&pass={SECRET}",
    f"http://cam/snap.jpg?token={SECRET}", f"ftp://u:{SECRET}@cam/x", f"rtsp:/u:{SECRET}@cam",
    f"rtspsrc location=rtsp://u:{SECRET}@cam user-pw={SECRET} ! appsink",
)  # fmt: skip
_SCALARS = (
    "", "~", "null", "true", "no", "0", "-1", "1e999", "-1e999", ".nan", ".inf", "-.Inf", "0x10", "0o17", "1_000",
    "9" * 30, "9" * 5000, "1e-320", "12:30:45", "2001-01-01", "2001-99-99", "'5'",
    '"\\x1b[2J"', '"\\0"', '"\\ud800"', '"a\\nb"',
    "[1, 2]", "{a: 1}", "[]", "{}", "!!binary aGk=", "!!set {a}", "!!int x", "!!float x", "!!timestamp 1", "!!null x",
    "!!python/object/apply:os.system ['touch escaped']", "!!python/name:os.system", "!include /etc/passwd", "!x y",
    "*a", "&a *a", "&a [*a]", "<<", "'" + "x" * 100_000 + "'", "=", "|\n    text", "? a\n  : b", "%TAG", "@x", "`x`",
    "/etc/passwd", "../../x", "~/x", "~nobody/x", "'a\\0b'", "é", "\u202e", "auto", "pi4", "Infinity",
)  # fmt: skip
_FILES = (
    "", "\0", "\ufeff", "---\n---\n", "- a\n", "text", "{", "[" * 5000, "{a: " * 500, "a: &a [*a, *a]",
    "? {a: b}\n: c\n", "detector: {<<: *x}", "<<: {detector: 1}", "%YAML 9.9\n---\na: 1",
    "a\tb: c", "\x80", "detector:\n\tinput_size: 3",
    "detector: [1]\n", "detector: 5\n", "sources: 5\n", "sources: [5]\n", "sources: [{}]\n", "sources: {uri: demo}\n",
    "sources: []\n", "sources: [[[]]]\n", "sources: [{uri: demo, 5: 5}]\n", "sources: [{? [a] : b}]\n",
    "sources: [{uri: demo}, {uri: demo, camera: camera1}]\n", "sources: [null]\n", "1: 2\n", "null: 1\n",
    "? [a]\n: 1\n", "detector:\n  ? [input_size]\n  : 320\n", "detector: &d\n  input_size: 320\nclassifier: *d\n",
)  # fmt: skip


@cache
def _whole() -> str:
    return (ROOT / "config.yaml").read_text(encoding="utf-8")


@cache
def _keys() -> list[str]:
    return sorted(key for key in values(Settings()) if key != "sources")


def _bomb(chance: random.Random) -> str:
    """A few hundred bytes that stand for a billion items, or one long chain."""
    if chance.random() < 0.5:
        return "a: &l0 [x, x]\n" + "".join(f"{k}: &l{n} [*l{n - 1}, *l{n - 1}, *l{n - 1}]\n"
                                           for n, k in enumerate("bcdefghijklmnopqrstuvwxyz", 1))  # fmt: skip
    lines = ["sources:", "  - &b0 {uri: demo, camera: &c0 [x, x]}"]
    lines += [f"  - {{uri: demo, camera: &c{n} [{', '.join([f'*c{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    return "\n".join(lines) + "\n"


def _setting(key: str, value: str) -> str:
    *sections, leaf = key.split(".")
    return (
        "".join(f"{'  ' * depth}{name}:\n" for depth, name in enumerate(sections))
        + f"{'  ' * len(sections)}{leaf}: {value}\n"
    )


def _wrong_value(chance: random.Random) -> str:
    return "".join(_setting(key, chance.choice(_SCALARS)) for key in chance.sample(_keys(), chance.choice((1, 1, 2))))


def _wrong_key(chance: random.Random) -> str:
    key = chance.choice(_keys())
    changed = chance.choice((
        key.upper(), key + "s", key[:-1], key.replace(".", ".x."), f'"{key}\\x1b[1m"', f'"{key}\\n"', f"{key}.{key}",
        "x" * 5000, '"\\u0000"', "é", "'a b'",
    ))  # fmt: skip
    return _setting(changed, "1")


def _secret(chance: random.Random) -> str:
    """Credentials in a source that is sound, and beside something that is wrong."""
    url = chance.choice(_URLS)
    shape = chance.choice((
        "source:\n  uri: {u}\n", "source: {{uri: {u}, fps: no}}\n",
        "sources:\n  - uri: {u}\n  - {{uri: {u}, camera: camera1}}\n",
        "sources: {u}\n", "source: {u}\n", "source:\n  uri: [{u}]\n", "source:\n  uri:\n    {u}: 1\n", "{u}: 1\n",
        "source: {{username: {u}, password: {u}}}\n", "source: {{password: [{u}], password_file: 5}}\n",
        "sources: [{{uri: 'rtsp://cam/', username: a, password: {u}}}, {{uri: demo, password: {u}}}]\n",
        "source:\n  camera: {u}\n  uri: 5\n", "sources:\n  - {u}\n", "source:\n  fps: {u}\n",
        "sources: [{{ur: {u}}}]\n",
        "source:\n  uri: {u}\n  uri: {u}\n", "output:\n  video: {u}\n", "source: !x {u}\n", "source:\n  uri: {u}\n :\n",
    ))  # fmt: skip
    return shape.format(u=json.dumps(url))


_SPECIAL: tuple[Callable[[random.Random], str], ...] = (
    _wrong_value, _wrong_value, _wrong_value, _wrong_key, _secret, _secret, _bomb, lambda chance: chance.choice(_FILES),
)  # fmt: skip


def make(number: int, chance: random.Random, folder: Path) -> Path:
    """Write configuration `number`; every twentieth is sound."""
    content = _whole().encode()
    if number % 20 and chance.random() < 0.75:
        text = chance.choice(_SPECIAL)(chance)
        content = (text if chance.random() < 0.8 else _whole() + text).encode("utf-8", errors="surrogatepass")
    elif number % 20:
        content = damaged(content, chance)
    path = folder / f"{number}.yaml"
    path.write_bytes(content)
    return path


def judge(paths: list[Path], box: Sandbox, patience_s: float) -> Result:
    """Resolve and show all of them in one process, and some by the command line."""
    done = box.run(paths, module="tests.fuzz.resolving", ceiling_mib=CEILING_MIB, patience_s=patience_s)
    faults = _told(done.out + done.err, paths)
    try:
        told = {each["path"]: each["fault"] for each in done.json_lines()}
    except ValueError as error:
        return Result.of(done, [*faults, f"stdout is not JSON Lines: {error}"])
    for path in paths:
        fault = told.get(str(path), "was not resolved" if done.code == 0 else None)
        if fault:
            faults.append(f"{path.name}: {fault}")
    result = Result.of(done, faults)
    for path, format in zip(paths[:SHARE], ("table", "yaml", "json", "json", "yaml"), strict=False):
        shown = box.run(
            ["config", "--config", path, "--format", format], ceiling_mib=CEILING_MIB, patience_s=patience_s
        )
        faults = [*one_error(shown), *_told(shown.out + shown.err, [path])]
        if shown.code not in (0, 2, None):
            faults.append(f"exit code {shown.code}")
        if format == "json" and shown.code == 0:
            try:
                strict_json(shown.out)
            except ValueError as error:
                faults.append(f"not JSON: {error}")
        result += Result.of(shown, [f"{path.name}: {fault}" for fault in faults])
    return result


def _told(text: str, paths: list[Path]) -> list[str]:
    if SECRET not in text:
        return []
    line = next(line for line in text.splitlines() if SECRET in line)
    return [f"shows a secret: {line.replace(str(paths[0].parent), '')[:200]}"]

"""The variables of the environment that are ours: settings as `EDGE_APP__SECTION__KEY`, and a few switches."""

import difflib
import re
from collections.abc import Iterator, Mapping

from edge_app.config.keys import keys, nearest_keys, shown_key
from edge_app.errors import UsageError

PREFIX = "EDGE_APP__"
SWITCHES = ("EDGE_APP_DEBUG", "EDGE_APP_MODELS", "EDGE_APP_SHARED", "EDGE_APP_TEST_LONG")

_LOOKS_LIKE_OURS = re.compile(r"EDGE_?APP_", re.IGNORECASE)
# Kubernetes and Docker tell a container where a service named `edge-app` is.
_OF_ORCHESTRATORS = re.compile(r"EDGE_APP_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_\w+)?)")


def name_of(key: str) -> str:
    """The variable that sets a key: `EDGE_APP__DETECTOR__INPUT_SIZE`."""
    return PREFIX + key.upper().replace(".", "__")


def settings_of(environment: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The settings in an environment: variable, dotted key, text.

    Raises:
        UsageError: a variable that looks like ours and is not; it names the one that was meant.
    """
    ours = {name_of(key): key for key in keys()}
    for name in sorted(filter(_LOOKS_LIKE_OURS.match, environment)):
        if name in ours:
            yield name, ours[name], environment[name]
        elif name not in SWITCHES and not _OF_ORCHESTRATORS.fullmatch(name):
            raise UsageError(_unknown(name, [*ours, *SWITCHES]))


def _unknown(name: str, known: list[str]) -> str:
    message = f"environment {shown_key(name)}: unknown setting"
    key = name.removeprefix(PREFIX).lower().replace("__", ".") if name.startswith(PREFIX) else ""
    near = list(map(name_of, nearest_keys(key))) if key else []
    near = near or difflib.get_close_matches(name[:200].upper(), known, n=1, cutoff=0.8)
    if not near:
        return f"{message}; `edge-app config` lists them, and a variable is written EDGE_APP__SECTION__KEY"
    dotted = near[0].removeprefix(PREFIX).lower().replace("__", ".")
    return f"{message}; did you mean {near[0]}{f' ({dotted!r})' if near[0].startswith(PREFIX) else ''}?"

"""`edge-app config`: every setting and the layer that set it."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from edge_app.commands.options import ConfigOption, ProfileOption, SetOption, resolve_options


class Format(StrEnum):
    table = "table"
    yaml = "yaml"
    json = "json"


def config(
    format: Annotated[Format, typer.Option("--format", help="yaml can be saved as config.yaml.")] = (Format.table),
    config: ConfigOption = None,
    profile: ProfileOption = None,
    assignments: SetOption = None,
) -> int:
    """Show every setting and the layer that set it.

    Layers, weakest first: defaults, board profile, config.yaml, environment (EDGE_APP__SECTION__KEY), command line.
    Credentials are masked.
    """
    from edge_app.commands import console
    from edge_app.config.view import shown, to_yaml

    resolved = resolve_options(config, profile, assignments)
    if format is Format.yaml:
        for line in to_yaml(resolved):
            console.line(line)
    elif format is Format.json:
        console.to_json({k: {"value": v, "from": resolved.origin[k]} for k, v in shown(resolved).items()}, indent=2)
    else:
        words = {k: v if isinstance(v, str) else json.dumps(v) for k, v in shown(resolved).items()}
        console.table(("setting", "value", "from"), [(k, v, resolved.origin[k]) for k, v in words.items()])
    return 0

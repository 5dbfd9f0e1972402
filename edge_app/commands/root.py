"""What `edge-app` and `python -m export` have in common above their commands."""

import os
from typing import Annotated

import typer

from edge_app.errors import UsageError

DebugOption = Annotated[bool, typer.Option("--debug", help="Show tracebacks; same as EDGE_APP_DEBUG=1.")]


def typer_app() -> typer.Typer:
    """An application without commands yet, whose root callback shall call `begin`."""
    return typer.Typer(
        add_completion=False,
        invoke_without_command=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )


def begin(context: typer.Context, debug: bool) -> None:
    """Before the command: switch debugging on, or give the help where no command was named.

    Raises:
        typer.Exit: no command was named.
    """
    if debug:
        os.environ["EDGE_APP_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(UsageError.exit_code)

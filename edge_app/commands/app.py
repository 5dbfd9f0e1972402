"""The command line. A command is a module here, which imports what it calls late: help must be quick and always work.

Exit codes: 0 done, 1 a fault in edge_app itself, 2 usage, configuration or a missing system library, 3 model,
4 source, 5 output, 6 watchdog, 130 interrupted (Ctrl-C). SIGTERM ends a run as cleanly as Ctrl-C but with 0,
because a stop asked for by a service manager is no failure; so does SIGHUP, where there is a terminal. A second signal
that comes more than a second later ends the program at once, with 128 + its number.
"""

from typing import Annotated

import typer

from edge_app.commands.bench import bench
from edge_app.commands.config import config
from edge_app.commands.doctor import doctor
from edge_app.commands.image import image
from edge_app.commands.root import DebugOption, begin, typer_app
from edge_app.commands.run import run
from edge_app.runtime.shutdown import guarded

app = typer_app()
for command in (run, image, bench, doctor, config):
    app.command()(command)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"edge-app {version('edge-app')}")
        except PackageNotFoundError:
            print("edge-app (not installed; running from a checkout)")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Watches a camera, finds every face, says whether it wears a mask: one clean event per person."""
    begin(context, debug)


def main(argv: list[str] | None = None) -> int:
    """Run a command line and give its exit code."""
    return guarded(lambda: app(args=argv, prog_name="edge-app", standalone_mode=False))

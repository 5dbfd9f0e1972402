"""`edge-app bench`: the speed of this machine, as a table, as JSON or as a chart."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_app.commands.opencv import quiet_opencv, require_opencv
from edge_app.commands.options import (
    ConfigOption,
    OverwriteOption,
    ProfileOption,
    SetOption,
    SourceArgument,
    resolve_options,
)
from edge_app.errors import UsageError
from edge_app.runtime.shutdown import interruptible


def bench(
    source: SourceArgument = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", "--max-frames", metavar="N", help="Frames to measure.  [default: all; 100 if live]"),
    ] = None,
    classic: Annotated[
        bool, typer.Option("--classic", help="Also time the classic recipe and whole commands; needs onnx.")
    ] = False,
    chart: Annotated[
        Path | None,
        typer.Option(readable=False, metavar="FILE.png", help="Draw a bar chart; needs matplotlib.  [default: none]"),
    ] = None,
    overwrite: OverwriteOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    assignments: SetOption = None,
) -> int:
    """Measure the speed of this machine, stage by stage.

    Time per stage (median, p95), frames a second end to end and for decoding alone, peak memory. --classic adds the
    usual recipe (detector at 640 px, ResNet-50 at 224 px, one face at a time), start-up time and headless memory.
    """
    if frames is not None and frames < 1:
        raise UsageError(f"--frames {frames}: expected an integer of at least 1")
    flags: dict[str, tuple[str, Any]] = {
        "SOURCE": ("source.uri", source),
        "--overwrite": ("output.overwrite", overwrite),
    }
    settings = resolve_options(config, profile, assignments, **flags).settings
    if settings.sources:
        raise UsageError("bench measures one source, and `sources` has several: give the SOURCE to measure")
    quiet_opencv()
    require_opencv()
    from edge_app.bench.bench import run_bench
    from edge_app.commands import console
    from edge_app.outputs import clashes

    interruptible()
    if chart:
        clashes.check({f"--chart {chart}": chart}, settings, config)
    result = run_bench(settings, frames, classic)
    try:
        if chart:
            result.plot(chart, settings.output.permissions, settings.output.overwrite)
    finally:  # what took minutes to measure is told in any case
        if as_json:
            console.to_json(result.to_dict(), indent=2)
        else:
            console.table(("measured", "value"), [tuple(map(str, row)) for row in result.rows()])
    return 0

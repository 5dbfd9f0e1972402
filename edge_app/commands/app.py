"""The commands. What they do lives in the modules they call, imported late: help must be quick and always work.

Exit codes: 0 done, 1 a fault in edge_app itself, 2 usage, configuration or a missing system library, 3 model,
4 source, 5 output, 6 watchdog, 130 interrupted (Ctrl-C). SIGTERM ends a run as cleanly as Ctrl-C but with 0,
because a stop asked for by a service manager is no failure; so does SIGHUP, where there is a terminal. A second signal
that comes more than a second later ends the program at once, with 128 + its number.
"""

import json
import os
import signal
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer

from edge_app.commands.options import (
    CameraOption,
    ConfigOption,
    OverwriteOption,
    ProfileOption,
    SetOption,
    SourceArgument,
    SourcesArgument,
)
from edge_app.config.layers import Given, Resolved, resolve
from edge_app.config.settings import Settings
from edge_app.errors import INTERRUPTED, EdgeAppError, SinkError, SourceError, StoppedEarly, UsageError
from edge_app.redact import shown_source
from edge_app.runtime.shutdown import die, guarded, interruptible, print_error, say, stop_on_signal
from edge_app.runtime.standard_streams import OutputClosed, OutputMissing, never_wait, silence_stdout

app = typer.Typer(
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


class Format(StrEnum):
    table = "table"
    jsonl = "jsonl"


class ConfigFormat(StrEnum):
    table = "table"
    yaml = "yaml"
    json = "json"


def _settings(
    config: Path | None, profile: str | None, assignments: list[str] | None, **flags: tuple[str, Any]
) -> Resolved:
    """Resolve all layers. `flags`: flag name -> (dotted key, value); None is a flag that was not given."""
    given = {key: Given(value, layer) for layer, (key, value) in flags.items() if value is not None}
    if profile is not None:
        given["profile"] = Given(profile, "--profile")
    return resolve(config=config, assignments=assignments or (), flags=given)


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
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; same as EDGE_APP_DEBUG=1.")] = False,
) -> None:
    """Watches a camera, finds every face, says whether it wears a mask: one clean event per person."""
    if debug:
        os.environ["EDGE_APP_DEBUG"] = "1"
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(UsageError.exit_code)


@app.command("run")
def run_command(
    source: SourcesArgument = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    show: Annotated[
        bool | None, typer.Option("--show/--headless", help="Open a window (q or Esc quits).  [default: headless]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(readable=False, metavar="FILE.mp4", help="Write the annotated video, H.264.  [default: none]"),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            readable=False, metavar="FILE.jsonl", help="Append events, one JSON object a line.  [default: none]"
        ),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(readable=False, metavar="FILE.json", help="Write the final summary.  [default: none]")
    ] = None,
    overwrite: OverwriteOption = None,
    max_frames: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N frames.  [default: run to the end]")
    ] = None,
    camera: CameraOption = None,
    assignments: SetOption = None,
) -> int:
    """Watch SOURCE: one verdict per person, mask, no_mask or unsure.

    A folder stands for its videos, or for its pictures, of which each is judged by itself. Without SOURCE, all cameras
    of the setting `sources` where it is set; what is given here is watched instead.
    Ctrl-C, SIGTERM or a closed terminal finishes the open files and prints the summary; a second one stops at once.
    """
    with stop_on_signal(at_last=True) as (stop, received):  # loading takes seconds, in which a stop may come
        never_wait()
        _quiet_opencv()
        _require_opencv()
        flags: dict[str, tuple[str, Any]] = {
            "SOURCE": _sources(source or []),
            "--show/--headless": ("output.show", show),
            "--output": ("output.video", output),
            "--events": ("output.events", events),
            "--summary": ("output.summary", summary),
            "--overwrite": ("output.overwrite", overwrite),
            "--max-frames": ("max_frames", max_frames),
            "--camera": ("source.camera", camera),
        }
        settings = _settings(config, profile, assignments, **flags).settings
        if not settings.sources:
            return _run_one(settings, config, stop, received)
        if camera is not None:
            raise UsageError("--camera names one camera, and `sources` has several: name them there, or give a SOURCE")
        return _run_cameras(settings, config, stop, received)


def _run_one(settings: Settings, config: Path | None, stop: Event, received: list[int]) -> int:
    from edge_app.commands import console as report
    from edge_app.runtime import pipeline

    with report.progress(shown_source(settings.source.uri)) as view:
        try:
            result = pipeline.run(settings, on_progress=view, on_stuck=die, stop=stop, config=config)
        except StoppedEarly:
            return _stopped(received)
    code = _tell(result.to_dict(), received)
    if result.failed:
        raise SinkError(f"{result.failed[0]}: this output is not complete; the others are")
    return code


def _sources(given: list[str]) -> tuple[str, Any]:
    """The setting that the SOURCE arguments are, and its value; None where there are none."""
    if not given:
        return "source.uri", None
    from edge_app.capture.open import expand_sources

    sources = expand_sources(given)
    if len(sources) == 1:
        return "source.uri", sources[0]
    from edge_app.runtime.cameras import cameras_of

    return "sources", cameras_of(sources)


def _run_cameras(settings: Settings, config: Path | None, stop: Event, received: list[int]) -> int:
    from edge_app.commands import console as report
    from edge_app.runtime import cameras

    with report.progress(f"{len(settings.sources or ())} cameras") as view:
        try:
            result = cameras.run(
                settings,
                on_progress=view,
                on_failure=lambda name, error: print_error(f"{name}: {error}"),
                on_stuck=die,
                stop=stop,
                config=config,
            )
        except StoppedEarly:
            return _stopped(received)
    code = _tell(result.to_dict(), received)
    if result.incomplete:
        raise SinkError(f"{result.incomplete[0]}: this output is not complete; the others are")
    if result.errors:
        return result.errors[0].exit_code
    return code


def _tell(facts: Mapping[str, Any], received: list[int]) -> int:
    """Print the summary, and give the exit code. By now everything is recorded, so a summary that nobody wants, or
    can read any more, is no error; one that cannot be written is."""
    from edge_app.commands import console as report

    code = _stopped(received)
    if signal.SIGHUP in received:  # the terminal has gone
        return code
    try:
        report.summary(facts)
    except (OutputClosed, OutputMissing):
        silence_stdout()
    except SinkError as error:
        silence_stdout()
        print_error(str(error))
        return code or error.exit_code
    return code


def _stopped(received: list[int]) -> int:
    return INTERRUPTED if signal.SIGINT in received else 0


@app.command("image")
def image_command(
    paths: Annotated[
        list[Path],
        typer.Argument(readable=False, metavar="PATH...", help="Pictures, or folders with their subfolders."),
    ],
    format: Annotated[Format, typer.Option("--format", help="jsonl: one JSON object a picture.")] = Format.table,
    output_dir: Annotated[
        Path | None,
        typer.Option(readable=False, metavar="FOLDER", help="Write annotated copies here.  [default: none]"),
    ] = None,
    overwrite: OverwriteOption = None,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    assignments: SetOption = None,
) -> int:
    """Judge the faces in pictures: a table or JSON Lines, and totals.

    A picture that cannot be read is reported, the others are still done, and the exit code is 4.
    """
    settings = _settings(config, profile, assignments, **{"--overwrite": ("output.overwrite", overwrite)}).settings
    _quiet_opencv()
    _require_opencv()
    from edge_app.commands import console as report
    from edge_app.commands.image import Totals, judge

    interruptible()
    totals = Totals()

    def on_error(error: SourceError) -> None:
        totals.failed += 1
        print_error(str(error))

    rows: list[tuple[str, ...]] = []

    def tell() -> None:
        if rows:
            report.table(("picture", "size", "box x0 y0 x1 y1", "score", "label", "mask probability"), rows)
        told = totals.text(settings.detector.min_face_px)
        if format is Format.jsonl:
            say(told)
        else:
            report.line(told)

    try:
        for picture in judge(paths, settings, output_dir=output_dir, on_error=on_error):
            totals.add(picture)
            if format is Format.jsonl:
                try:
                    report.to_json(picture.to_dict())
                except OutputClosed:
                    if output_dir is None:
                        raise
                    silence_stdout()  # the copies are wanted all the same
                continue
            name, size = str(picture.path), "x".join(map(str, picture.size))
            rows += [
                (
                    name,
                    size,
                    " ".join(f"{v:.0f}" for v in f.box),
                    f"{f.score:.2f}",
                    f.label,
                    f"{f.mask_probability:.2f}",
                )
                for f in picture.faces
            ] or [(name, size, "no face", "", "", "")]
    except (SinkError, KeyboardInterrupt):
        if totals.pictures:
            tell()  # those that were judged before
        raise
    tell()
    return SourceError.exit_code if totals.failed else 0


@app.command("bench")
def bench_command(
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
    settings = _settings(config, profile, assignments, **flags).settings
    if settings.sources:
        raise UsageError("bench measures one source, and `sources` has several: give the SOURCE to measure")
    _quiet_opencv()
    _require_opencv()
    from edge_app.bench.bench import run_bench
    from edge_app.commands import console as report
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
            report.to_json(result.to_dict(), indent=2)
        else:
            report.table(("measured", "value"), [tuple(map(str, row)) for row in result.rows()])
    return 0


@app.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigOption = None,
    profile: ProfileOption = None,
    assignments: SetOption = None,
) -> int:
    """Check this machine and say what to do about what is missing."""
    _quiet_opencv()
    from edge_app.commands import console as report
    from edge_app.commands import doctor

    try:
        resolved: Resolved | EdgeAppError = _settings(config, profile, assignments)
    except UsageError as error:
        resolved = error
    rows = doctor.examine(resolved)
    code = doctor.exit_code(rows)
    if as_json:
        report.to_json({"exit_code": code, "checks": [row.to_dict() for row in rows]}, indent=2)
    else:
        report.table(("check", "status", "found", "what to do"), [(r.name, r.status, r.detail, r.advice) for r in rows])
    return code


@app.command("config")
def config_command(
    format: Annotated[ConfigFormat, typer.Option("--format", help="yaml can be saved as config.yaml.")] = (
        ConfigFormat.table
    ),
    config: ConfigOption = None,
    profile: ProfileOption = None,
    assignments: SetOption = None,
) -> int:
    """Show every setting and the layer that set it.

    Layers, weakest first: defaults, board profile, config.yaml, environment (EDGE_APP__SECTION__KEY), command line.
    Credentials are masked.
    """
    from edge_app.commands import console as report
    from edge_app.config.view import shown, to_yaml

    resolved = _settings(config, profile, assignments)
    if format is ConfigFormat.yaml:
        for line in to_yaml(resolved):
            report.line(line)
    elif format is ConfigFormat.json:
        report.to_json({k: {"value": v, "from": resolved.origin[k]} for k, v in shown(resolved).items()}, indent=2)
    else:
        words = {k: v if isinstance(v, str) else json.dumps(v) for k, v in shown(resolved).items()}
        report.table(("setting", "value", "from"), [(k, v, resolved.origin[k]) for k, v in words.items()])
    return 0


def _quiet_opencv() -> None:
    """Keep OpenCV's and FFmpeg's own log lines off the screen: what matters comes as our one error line."""
    if not os.environ.get("EDGE_APP_DEBUG"):
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def _require_opencv() -> None:
    from edge_app.commands.doctor import require_opencv

    require_opencv()


def main(argv: list[str] | None = None) -> int:
    """Run a command line and give its exit code."""
    return guarded(lambda: app(args=argv, prog_name="edge-app", standalone_mode=False))

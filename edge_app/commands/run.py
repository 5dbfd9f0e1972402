"""`edge-app run`: watches one camera or several, and tells what was seen."""

import signal
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer

from edge_app.commands.opencv import quiet_opencv, require_opencv
from edge_app.commands.options import (
    CameraOption,
    ConfigOption,
    OverwriteOption,
    ProfileOption,
    SetOption,
    SourcesArgument,
    resolve_options,
)
from edge_app.config.settings import Settings
from edge_app.errors import INTERRUPTED, SinkError, StoppedEarly, UsageError
from edge_app.redact import shown_source
from edge_app.runtime.shutdown import die, print_error, stop_on_signal
from edge_app.runtime.standard_streams import OutputClosed, OutputMissing, never_wait, silence_stdout


def run(
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
        quiet_opencv()
        require_opencv()
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
        settings = resolve_options(config, profile, assignments, **flags).settings
        if camera is not None and len(settings.cameras) > 1:
            where = "several SOURCEs take their names from the files" if source else "name them in `sources`"
            raise UsageError(f"--camera names one camera, and there are several: {where}, or give one SOURCE")
        return _run(settings, config, stop, received)


def _run(settings: Settings, config: Path | None, stop: Event, received: list[int]) -> int:
    from edge_app.commands import console
    from edge_app.runtime.run import run as run_cameras

    alone = len(settings.cameras) == 1
    name = shown_source(settings.cameras[0].uri) if alone else f"{len(settings.cameras)} cameras"
    with console.progress(name) as view:
        try:
            result = run_cameras(
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
        first, *more = result.incomplete
        others = f", and neither are {len(more)} others, see `failed`" if more else "; the others are"
        raise SinkError(f"{first}: this output is not complete{others}")
    if result.errors and alone:
        raise result.errors[0]
    return result.errors[0].exit_code if result.errors else code


def _sources(given: list[str]) -> tuple[str, Any]:
    """The setting that the SOURCE arguments are, and its value; None where there are none."""
    if not given:
        return "source.uri", None
    from edge_app.capture.open import expand_sources

    sources = expand_sources(given)
    if len(sources) == 1:
        return "source.uri", sources[0]
    from edge_app.commands.sources import cameras_of

    return "sources", cameras_of(sources)


def _tell(facts: Mapping[str, Any], received: list[int]) -> int:
    """Print the summary, and give the exit code. By now everything is recorded, so a summary that nobody wants, or
    can read any more, is no error; one that cannot be written is."""
    from edge_app.commands import console

    code = _stopped(received)
    if signal.SIGHUP in received:  # the terminal has gone
        return code
    try:
        console.summary(facts)
    except (OutputClosed, OutputMissing):
        silence_stdout()
    except SinkError as error:
        silence_stdout()
        print_error(str(error))
        return code or error.exit_code
    return code


def _stopped(received: list[int]) -> int:
    return INTERRUPTED if signal.SIGINT in received else 0

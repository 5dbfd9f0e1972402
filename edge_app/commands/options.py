"""The arguments that several commands share, and the settings that they make."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edge_app.config.board import profiles
from edge_app.config.layers import Given, Resolved, resolve

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", readable=False, metavar="FILE", help="Settings file.  [default: ./config.yaml if present]"
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option(metavar="NAME", help=f"Board profile: {', '.join(profiles())}.  [default: by the board]")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any setting, e.g. detector.input_size=480. May be repeated."),
]
CameraOption = Annotated[
    str | None, typer.Option("--camera", metavar="NAME", help="Camera name in events.  [default: camera]")
]
OverwriteOption = Annotated[
    bool | None,
    typer.Option("--overwrite", help="Replace earlier videos, pictures and charts.  [default: take a new name]"),
]
SourcesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE...",
        help="0, /dev/video0, rtsp://, http(s)://, video file, picture, folder, csi://0, a GStreamer pipeline or demo."
        "  Several files are watched one after another, cameras side by side.  [default: source.uri, which is 0]",
    ),
]
SourceArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE",
        help="0, /dev/video0, rtsp://, http(s)://, video file, picture, folder, csi://0, a GStreamer pipeline or demo."
        "  [default: source.uri, which is 0]",
    ),
]


def resolve_options(
    config: Path | None, profile: str | None, assignments: list[str] | None, **flags: tuple[str, Any]
) -> Resolved:
    """Resolve all layers. `flags`: flag name -> (dotted key, value); None is a flag that was not given."""
    given = {key: Given(value, layer) for layer, (key, value) in flags.items() if value is not None}
    if profile is not None:
        given["profile"] = Given(profile, "--profile")
    return resolve(config=config, assignments=assignments or (), flags=given)

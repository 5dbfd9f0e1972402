"""`edge-app image`: what `pictures` finds, as a table or as JSON Lines."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge_app.commands.opencv import quiet_opencv, require_opencv
from edge_app.commands.options import ConfigOption, OverwriteOption, ProfileOption, SetOption, resolve_options
from edge_app.errors import SinkError, SourceError
from edge_app.runtime.shutdown import interruptible, print_error, say
from edge_app.runtime.standard_streams import OutputClosed, silence_stdout


class Format(StrEnum):
    table = "table"
    jsonl = "jsonl"


def image(
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
    settings = resolve_options(
        config, profile, assignments, **{"--overwrite": ("output.overwrite", overwrite)}
    ).settings
    quiet_opencv()
    require_opencv()
    from edge_app.commands import console
    from edge_app.commands.pictures import Totals, judge

    interruptible()
    totals = Totals()

    def on_error(error: SourceError) -> None:
        totals.failed += 1
        print_error(str(error))

    rows: list[tuple[str, ...]] = []

    def tell() -> None:
        if rows:
            console.table(("picture", "size", "box x0 y0 x1 y1", "score", "label", "mask probability"), rows)
        told = totals.text(settings.detector.min_face_px)
        if format is Format.jsonl:
            say(told)
        else:
            console.line(told)

    try:
        for picture in judge(paths, settings, output_dir=output_dir, on_error=on_error):
            totals.add(picture)
            if format is Format.jsonl:
                try:
                    console.to_json(picture.to_dict())
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

"""The commands of a retrain: `label` new pictures, and `promote` what was trained on them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge_app.errors import UsageError
from edge_app.inference.model import models_dir
from export.commands.options import Assignments, labelled_faces, show, val_data


class Next(StrEnum):
    gamma = "gamma"
    prod = "prod"


def promote(
    candidate: Annotated[Path, typer.Argument(metavar="CANDIDATE", help="Mask classifier folder made by `release`.")],
    data: Annotated[
        Path | None,
        typer.Option(help="COCO file, images in images/ beside it, or folder with mask/ and no_mask/.  [default: val]"),
    ] = None,
    stage: Annotated[Next, typer.Option(help="gamma: noted in CANDIDATE; prod: replaces the model in models/.")] = (
        Next.prod
    ),
    approve: Annotated[
        str | None, typer.Option(metavar="REASON", help="Promote although a metric fell; kept in the manifest.")
    ] = None,
) -> None:
    """Compare a candidate with the current mask classifier, and replace that if no metric fell."""
    if approve is not None and not approve.strip():
        raise UsageError('--approve: empty; say why the candidate shall be promoted: --approve "reason"')
    data = val_data(data).resolve()
    from export.classifier.promote import promote as raise_stage

    name = f"{data.parent.name}/{data.name}"  # goes into a manifest, which no machine's paths should
    current = models_dir() / "mask_classifier"
    show(raise_stage(candidate, current, labelled_faces(data), name, stage.value, approve))


def label(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures and clips.")],
    out: Annotated[Path, typer.Option(help="COCO file to make; pictures go into images/ beside it.")],
    every: Annotated[int, typer.Option(min=1, help="Of a clip, every Nth frame.")] = 25,
    assignments: Assignments = None,
) -> None:
    """Label pictures and clips with the current models, the most uncertain faces first, marked for review."""
    from edge_app.config.layers import resolve
    from export.classifier.label import label as write

    settings = resolve(config=None, assignments=assignments or (), flags={}).settings
    show(write(folder, out, settings, every))

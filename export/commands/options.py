"""Shared by the commands of the workshop: options, default data, printing."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_app.errors import UsageError
from export.common.shared import shared_data

if TYPE_CHECKING:
    from export.classifier.evaluate import Crops

Folder = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Model folder.  [default: the one in models/]")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, as for edge-app.")
]
TrainingFolder = Annotated[Path, typer.Option(help="Folder for checkpoint, data cache and curve.")]
Minutes = Annotated[float, typer.Option(help="Training time, minutes, all resumed runs together.")]
Seed = Annotated[int, typer.Option(help="Seed of weights, sampling and augmentation.")]
Threads = Annotated[int, typer.Option(help="CPU threads of the training step; more processes prepare batches.")]
Resume = Annotated[bool, typer.Option(help="Resume from the checkpoint in --out, if there is one.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Warm restart of the learning-rate schedule at the checkpoint.")
]
Start = Annotated[
    Path | None,
    typer.Option(metavar="ONNX", help="Earlier model.onnx to finetune, at a lower rate.  [default: from scratch]"),
]


class Which(StrEnum):
    face_detector = "face_detector"
    mask_classifier = "mask_classifier"


def need_data(part: str) -> None:
    """Raises UsageError where the shared data lack `part`, a path inside them."""
    if not (shared_data() / part).exists():
        raise UsageError(f"{shared_data() / part}: no such file; set EDGE_APP_SHARED to the folder that holds data/")


def val_data(data: Path | None) -> Path:
    """`--data` as given, or scenes/val of the shared data; known to exist, else UsageError."""
    if data is None:
        need_data("scenes/val.json")
        data = shared_data() / "scenes" / "val.json"
    if not data.exists():
        raise UsageError(f"{data}: no such file or folder; expected a COCO file or a folder of labelled photos")
    return data


def labelled_faces(data: Path) -> "Crops":
    """Faces to measure a classifier on: a COCO file, or a folder with mask/ and no_mask/.

    File names of a COCO file are those in images/ beside it or, where there is no such folder, beside the file itself.
    """
    from edge_app.config.settings import DetectorSettings
    from edge_app.vision.detector import open_detector
    from export.classifier import evaluate as measure

    if data.is_dir():
        return measure.read_folder(data, open_detector(DetectorSettings()).detect)
    images = data.parent / "images"
    return measure.read_coco(data, images if images.is_dir() else data.parent)


def show(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))

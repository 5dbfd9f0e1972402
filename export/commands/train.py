"""The commands that make models: train, average, mine and release.

What is missing is said before torch is loaded, which takes seconds and may not be installed.
"""

from pathlib import Path
from typing import Annotated

import typer

from edge_app.errors import UsageError
from edge_app.inference.model import models_dir
from export.commands.options import (
    Folder,
    Minutes,
    Restart,
    Resume,
    Seed,
    Start,
    Threads,
    TrainingFolder,
    Which,
    need_data,
    show,
)

Target = Annotated[
    Path | None,
    typer.Option(help="Folder to make.  [default: detector: the one in models/; classifier: mask_classifier in RUN]"),
]


def train_classifier(
    minutes: Minutes = 45,
    out: TrainingFolder = Path("runs/classifier"),
    seed: Seed = 0,
    threads: Threads = 2,
    resume: Resume = True,
    restart: Restart = False,
    add: Annotated[
        list[Path] | None, typer.Option(help="Reviewed COCO file from `label`, trained on too; may be repeated.")
    ] = None,
    start: Start = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(metavar="ONNX", help="From `train-teacher`, to distil from; may be repeated.")
    ] = None,
) -> None:
    """Train the mask classifier on the shared data."""
    need_data("scenes/train.json")
    from export.classifier.train import train

    add, teacher = add or [], teacher or []
    print(train(out, minutes, seed, threads, resume, add=add, restart=restart, start=start, teachers=teacher))


def train_teacher(
    minutes: Minutes = 40,
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, data cache, curve and teacher.onnx.")] = Path(
        "runs/teacher"
    ),
    seed: Seed = 0,
    threads: Threads = 2,
    resume: Resume = True,
) -> None:
    """Finetune a larger network, pretrained on ImageNet, for `train-classifier --teacher` to distil from."""
    need_data("scenes/train.json")
    from export.classifier.teacher import train

    print(train(out, minutes, seed, threads, resume))


def train_detector(
    minutes: Minutes = 90,
    out: TrainingFolder = Path("runs/detector"),
    seed: Seed = 0,
    threads: Threads = 2,
    resume: Resume = True,
    restart: Restart = False,
    start: Start = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(metavar="ONNX", help="Detector to distil from; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to train: cpu, or cuda beside a GPU.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Processes that prepare batches; a GPU needs many.")] = 1,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Windows of 320 px a step.  [default: that of a resumed run, or 32]")
    ] = None,
    times: Annotated[
        int, typer.Option(min=1, help="Width multiplier; a wider net gives teacher.onnx, for --teacher.")
    ] = 1,
    mix: Annotated[bool, typer.Option(help="Distil on mixup images as well; slower.")] = False,
) -> None:
    """Train the face detector on the shared data, from scratch or from an earlier one."""
    need_data("scenes/train.json")
    from export.detector.hyperparameters import DEFAULTS
    from export.detector.train import train

    print(
        train(
            out, minutes, seed, threads, resume, restart=restart, start=start, teachers=teacher or [], device=device,
            workers=workers, times=times, mix=mix, hyperparameters=DEFAULTS.scaled_to(batch) if batch else None,
        )
    )  # fmt: skip


def average(
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...", help="Of one training, the last last.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Training folder to make, for `release`.")],
) -> None:
    """Average the weights of several checkpoints of one training."""
    for file in checkpoints:
        if not file.is_file():
            raise UsageError(f"{file}: no such file; expected a checkpoint.pt that training wrote")
    from export.common.training import average_checkpoints, save_checkpoint

    save_checkpoint(out / "checkpoint.pt", average_checkpoints(checkpoints))
    if (curve := checkpoints[-1].parent / "curve.csv").is_file():
        (out / "curve.csv").write_bytes(curve.read_bytes())
    print(out / "checkpoint.pt")


def mine_detector(
    out: Annotated[Path, typer.Option(metavar="CSV", help="Table to make.")],
    sheets: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for contact sheets, which show people.")],
    folder: Folder = None,
) -> None:
    """Mine hard examples: errors of the face detector on its training pictures. Review the table with the sheets,
    change its last column where a face is, drop unreviewed lines, and add the rest to models/face_detector/hard.csv."""
    need_data("scenes/train.json")
    from export.common.engines import open_engine
    from export.detector import mining
    from export.detector.train import training_scenes

    scenes = [scene for _, part in training_scenes(out.parent / "scenes.npz") for scene in part]
    mining.apply_table(scenes, mining.read(mining.hard_file()))
    examples = mining.mine(open_engine(folder or models_dir() / "face_detector", "onnxruntime"), scenes)
    mining.write(out, examples)
    mining.sheets(sheets, scenes, examples)
    print(f"{out}: {len(examples)} hard examples; {sheets}: false positives by their lines")


def release(
    which: Which,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Training folder with a checkpoint.")],
    folder: Target = None,
    version: Annotated[str, typer.Option(help="Version in the manifest.")] = "1",
) -> None:
    """Export a trained model to ONNX (classifier: int8 too), measure it on val, write manifest, card and plots."""
    if not (run / "checkpoint.pt").is_file():
        raise UsageError(f"{run}: no checkpoint.pt there; train first, or name the folder given to --out")
    need_data("scenes/val.json")
    from export.classifier.release import release_classifier
    from export.detector.release import release_detector

    make = release_detector if which is Which.face_detector else release_classifier
    show(make(run, folder, version))

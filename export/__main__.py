"""The commands of the workshop: `python -m export --help`. Training needs the `export` extra and the shared data."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_app.errors import EdgeAppError, UsageError
from edge_app.models import models_dir
from export.commands import labelled_faces, need_data, show, val_data
from export.retrain_commands import label, promote

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)

Minutes = Annotated[float, typer.Option(help="Training time, minutes, all resumed runs together.")]
Seed = Annotated[int, typer.Option(help="Seed of weights, sampling and augmentation.")]
Threads = Annotated[int, typer.Option(help="CPU threads of the training step; one more process prepares batches.")]
Resume = Annotated[bool, typer.Option(help="Go on from the checkpoint in --out, if there is one.")]
Restart = Annotated[bool, typer.Option("--restart", help="Begin the learning-rate schedule again at the checkpoint.")]
Folder = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Model folder.  [default: the one in models/]")]
Target = Annotated[
    Path | None,
    typer.Option(help="Folder to make.  [default: detector: the one in models/; classifier: mask_classifier in RUN]"),
]


class Which(StrEnum):
    face_detector = "face_detector"
    mask_classifier = "mask_classifier"


@app.command("train-classifier")
def train_classifier(
    minutes: Minutes = 45,
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, data cache and curve.")] = Path("runs/classifier"),
    seed: Seed = 0,
    threads: Threads = 2,
    resume: Resume = True,
    restart: Restart = False,
    add: Annotated[
        list[Path] | None, typer.Option(help="Reviewed COCO file from `label`, trained on too; may be repeated.")
    ] = None,
) -> None:
    """Train the mask classifier from scratch on the shared data."""
    from export.classifier import train

    need_data("scenes/train.json")
    print(train(out, minutes, seed, threads, resume, add=add or [], restart=restart))


@app.command("compare-classifiers")
def compare_classifiers(
    minutes: Annotated[float, typer.Option(help="Training time of each shape, minutes.")] = 8,
    out: Annotated[Path, typer.Option(help="Folder for a training folder of each.")] = Path("runs/variants"),
    threads: Threads = 2,
) -> None:
    """Train the classifier in several widths, depths and input sizes alike; print accuracy and time as a table."""
    from export import classifier_variants as variants
    from export.classifier_data import load_faces
    from export.evaluate_classifier import read_coco
    from export.training import shared_data

    need_data("scenes/train.json")
    scenes, found = shared_data() / "scenes", []
    faces = load_faces(shared_data(), out / "faces")
    for shape in variants.SHAPES:
        val = read_coco(scenes / "val.json", scenes / "images", size=shape.size)
        folder = out / f"{shape.width}-{shape.blocks}-{shape.size}"
        found.append(variants.measure(shape, folder, minutes, threads, faces, val))
    print(variants.table(found))


@app.command("train-detector")
def train_detector(
    minutes: Minutes = 90,
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, data cache and curve.")] = Path("runs/detector"),
    seed: Seed = 0,
    threads: Threads = 2,
    resume: Resume = True,
    restart: Restart = False,
) -> None:
    """Train the face detector from scratch on the shared data."""
    from export.detector import train

    need_data("scenes/train.json")
    print(train(out, minutes, seed, threads, resume, restart=restart))


@app.command("average")
def average(
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CHECKPOINT...", help="Of one training, the last last.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Training folder to make, for `release`.")],
) -> None:
    """Average the weights of several checkpoints of one training."""
    from export.training import average_checkpoints

    _need_checkpoints(checkpoints)
    print(_new_run(out, average_checkpoints(checkpoints), checkpoints[-1].parent))


@app.command("narrow-detector")
def narrow_detector(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Of a detector with wider heads.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Training folder to make, for `--restart`.")],
) -> None:
    """Cut a trained detector's heads to the width that the network has now; train it on afterwards."""
    from export.detector_net import narrow
    from export.training import load_checkpoint

    _need_checkpoints([checkpoint])
    state = load_checkpoint(checkpoint) or {}
    print(_new_run(out, state | {"average": narrow(state["average"])}, checkpoint.parent))


def _need_checkpoints(files: list[Path]) -> None:
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file}: no such file; expected a checkpoint.pt that training wrote")


def _new_run(out: Path, state: dict[str, Any], before: Path) -> Path:
    """A training folder that holds `state` and the learning curve of the run `before`; gives the checkpoint."""
    from export.training import save_checkpoint

    save_checkpoint(out / "checkpoint.pt", state)
    if (before / "curve.csv").is_file():
        (out / "curve.csv").write_bytes((before / "curve.csv").read_bytes())
    return out / "checkpoint.pt"


@app.command("mine-detector")
def mine_detector(
    out: Annotated[Path, typer.Option(metavar="CSV", help="Table to make.")],
    sheets: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder for contact sheets, which show people.")],
    folder: Folder = None,
) -> None:
    """Find where the face detector errs on its training pictures. Sort the table by the sheets, change its last column
    where a face is, drop the lines you leave unsorted, and add the rest to models/face_detector/hard.csv."""
    from export import detector_mining as mining
    from export.detector import training_scenes
    from export.engines import open_engine

    need_data("scenes/train.json")
    scenes = [scene for _, part in training_scenes(out.parent / "scenes.npz") for scene in part]
    mining.mark(scenes, mining.read(mining.hard_file()))
    places = mining.mine(open_engine(folder or models_dir() / "face_detector", "onnxruntime"), scenes)
    mining.write(out, places)
    mining.sheets(sheets, scenes, places)
    print(f"{out}: {len(places)} places; {sheets}: false positives by their lines")


@app.command("release")
def release(
    which: Which,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Training folder with a checkpoint.")],
    folder: Target = None,
    version: Annotated[str, typer.Option(help="Version in the manifest.")] = "1",
) -> None:
    """Export a trained model to ONNX (classifier: int8 too), measure it on val, write manifest, card and plots."""
    from export.release import release_classifier, release_detector

    if not (run / "checkpoint.pt").is_file():
        raise UsageError(f"{run}: no checkpoint.pt there; train first, or name the folder given to --out")
    need_data("scenes/val.json")
    make = release_detector if which is Which.face_detector else release_classifier
    show(make(run, folder, version))


@app.command("evaluate")
def evaluate(
    which: Which,
    data: Annotated[
        Path | None,
        typer.Option(help="COCO file, images in images/ beside it; classifier also: folder with mask/ and no_mask/."),
    ] = None,
    folder: Folder = None,
    peer: Annotated[list[Path] | None, typer.Option(help="Another detector's ONNX, measured in the same run.")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Detector long side, pixels.  [default: 320 and 640]")] = None,
    engine: Annotated[str, typer.Option(help="Detector engine: opencv or onnxruntime.")] = "opencv",
    plots: Annotated[Path | None, typer.Option(help="Folder for plots.  [default: none]")] = None,
    mistakes: Annotated[
        Path | None, typer.Option(help="Folder for sheets of the worst mistakes, which show people.  [default: none]")
    ] = None,
) -> None:
    """Measure a model on labelled pictures and print JSON."""
    if mistakes and which is not Which.mask_classifier:
        raise UsageError("--mistakes: only for mask_classifier")
    data = val_data(data)
    folder = folder or models_dir() / which.value
    if which is Which.mask_classifier:
        show(_evaluate_classifier(data, folder, plots, mistakes))
    else:
        show(_evaluate_detector(data, folder, peer or [], size or [320, 640], engine, plots))


@app.command("evaluate-together")
def evaluate_together(
    data: Annotated[Path | None, typer.Option(help="COCO file, images in images/ beside it.")] = None,
    peer: Annotated[list[Path] | None, typer.Option(help="Another detector's ONNX, measured in the same run.")] = None,
    size: Annotated[list[int] | None, typer.Option(help="Detector long side, pixels.  [default: 320 and 640]")] = None,
    detector: Annotated[Path | None, typer.Option(help="Model folder.  [default: models/face_detector]")] = None,
    classifier: Annotated[Path | None, typer.Option(help="Model folder.  [default: models/mask_classifier]")] = None,
) -> None:
    """Of all labelled faces, how many are found and called right, end to end. Ours runs at its shipped threshold, a
    peer at the one that gives it 0.05 false positives an image on the same pictures."""
    from edge_app.detector import score_threshold
    from edge_app.models import Model
    from export import evaluate_detector as measure
    from export.engines import open_engine
    from export.evaluate_together import together

    data = val_data(data)
    if not data.is_file():
        raise UsageError(f"{data}: a folder; expected a COCO file")
    detector = detector or models_dir() / "face_detector"
    pictures = measure.read(data, data.parent / "images")
    out: dict[str, Any] = {"data": str(data)}
    for side in size or [320, 640]:
        threshold = score_threshold(Model(detector).manifest, side)
        rows = {detector.name: together(open_engine(detector), threshold, classifier, pictures, side)}
        for path in peer or []:
            engine = open_engine(path)
            threshold = measure.evaluate(engine, pictures, side).threshold(measure.FALSE_RATE)
            rows[path.stem] = together(engine, threshold, classifier, pictures, side)
        out[f"long side {side} px"] = rows
    show(out)


@app.command("evaluate-clips")
def evaluate_clips(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Clips with a clips.json.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting, as for edge-app.")
    ] = None,
) -> None:
    """Run detector, classifier, tracker and votes over labelled clips and count right verdicts."""
    from edge_app.config import resolve
    from export.evaluate_clips import evaluate as measure
    from export.training import shared_data

    folder = folder or shared_data() / "clips"
    if not (folder / "clips.json").is_file():
        raise UsageError(f"{folder / 'clips.json'}: no such file; expected a folder of clips with their labels")
    show(measure(folder, resolve(config=None, assignments=assignments or (), flags={}).settings))


app.command("label")(label)
app.command("promote")(promote)


def _evaluate_classifier(data: Path, folder: Path, plots: Path | None, mistakes: Path | None) -> dict[str, Any]:
    from edge_app.models import Model
    from export import classifier_plots as draw
    from export import evaluate_classifier as measure

    faces = labelled_faces(data)
    out: dict[str, Any] = {"data": str(data)}
    manifest = Model(folder).manifest
    for precision in manifest.files:
        scores = measure.probabilities(folder, precision, faces.crops)
        out[precision] = measure.report(faces, scores)
        if plots:
            draw.plot(faces, scores, plots / precision, manifest.thresholds)
        if mistakes and draw.mistakes(faces, scores, mistakes / "mistakes" / f"{precision}.png"):
            print(f"{mistakes / 'mistakes' / precision}.png: {draw.PRIVATE}", file=sys.stderr)
    return out | {"ms a face, one thread": measure.milliseconds(folder)}


def _evaluate_detector(
    data: Path, folder: Path, peers: list[Path], sizes: list[int], engine: str, plots: Path | None
) -> dict[str, Any]:
    from edge_app.detector import ENGINES, score_threshold
    from edge_app.models import Model
    from export import compare_detectors as compare
    from export import evaluate_detector as measure
    from export.engines import open_engine

    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: expected one of {', '.join(ENGINES)}")
    manifest = Model(folder).manifest
    thresholds = manifest.thresholds
    files = {folder.name: folder, **{path.stem: path for path in peers}}
    engines = {name: open_engine(path, engine) for name, path in files.items()}
    pictures = measure.read(data, data.parent / "images")
    out: dict[str, Any] = {"data": str(data), "engine": engine}
    times: dict[str, dict[str, Any]] = {kind: {} for kind in ENGINES}
    for side in sizes:
        results = {name: measure.evaluate(each, pictures, side) for name, each in engines.items()}
        cuts = {name: result.threshold(measure.FALSE_RATE) for name, result in results.items()}
        out[f"long side {side} px"] = {name: result.report() for name, result in results.items()}
        for name, each in engines.items():
            out[f"long side {side} px"][name][f"faces that fill {measure.FILLING:.0%} of the frame"] = measure.close_up(
                each, pictures, side, cuts[name]
            )
        if f"score@{side}" in thresholds:
            out[f"long side {side} px"][folder.name]["shipped threshold"] = results[folder.name].at(
                thresholds[f"score@{side}"]
            )
        if plots:
            plots.mkdir(parents=True, exist_ok=True)
            measure.plot(results, plots / f"recall-{side}.png")
        for kind, row in times.items():
            racers = {name: open_engine(path, kind, score=cuts[name]) for name, path in files.items()}
            row[f"{side}x{side}"] = compare.race(racers, pictures[0], side)
    out["ms, one thread, in turn, each at its threshold"] = times
    first, second = (open_engine(folder, kind) for kind in ENGINES)
    score = score_threshold(manifest, max(sizes))
    out["engines"] = compare.disagreement(first, second, pictures, max(sizes), score / 2)
    for path in peers:
        peer = open_engine(path)
        # How far a peer's points at one size are from its own at another is as near as any net could come to them.
        rivals = {folder.name: first, f"{path.stem} at three quarters of the size": compare.at_scale(peer, 0.75)}
        out[f"landmarks beside {path.stem}, in face widths"] = {
            name: compare.landmark_gap(each, peer, pictures, max(sizes), score) for name, each in rivals.items()
        }
    return out


def main() -> int:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        app(standalone_mode=False)
    except EdgeAppError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except typer.Exit as leaving:
        return leaving.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        print(f"error: {error.format_message()}", file=sys.stderr)
        return UsageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

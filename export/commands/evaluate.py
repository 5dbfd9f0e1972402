"""The commands that evaluate: one model on labelled pictures, both end to end, and the pipeline on clips."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_app.errors import UsageError
from edge_app.inference.model import models_dir
from export.commands.options import Assignments, Folder, Which, labelled_faces, show, val_data
from export.common.shared import shared_data

Peers = Annotated[list[Path] | None, typer.Option(help="Another detector's ONNX, measured in the same run.")]
Sizes = Annotated[list[int] | None, typer.Option(help="Detector long side, pixels.  [default: 320 and 640]")]


def evaluate(
    which: Which,
    data: Annotated[
        Path | None,
        typer.Option(help="COCO file, images in images/ beside it; classifier also: folder with mask/ and no_mask/."),
    ] = None,
    folder: Folder = None,
    peer: Peers = None,
    size: Sizes = None,
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


def evaluate_together(
    data: Annotated[Path | None, typer.Option(help="COCO file, images in images/ beside it.")] = None,
    peer: Peers = None,
    size: Sizes = None,
    detector: Annotated[Path | None, typer.Option(help="Model folder.  [default: models/face_detector]")] = None,
    classifier: Annotated[Path | None, typer.Option(help="Model folder.  [default: models/mask_classifier]")] = None,
) -> None:
    """Evaluate detector and classifier end to end: the share of labelled faces detected and classified correctly. Ours
    runs at its shipped threshold, a peer at 0.05 false positives per image on the same pictures."""
    data = val_data(data)
    if not data.is_file():
        raise UsageError(f"{data}: a folder; expected a COCO file")
    from edge_app.inference.model import Model
    from edge_app.vision.detector import score_threshold
    from export.common.engines import open_engine
    from export.detector import evaluate as measure
    from export.detector.together import together

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


def evaluate_clips(
    folder: Annotated[Path | None, typer.Argument(metavar="FOLDER", help="Clips with a clips.json.")] = None,
    assignments: Assignments = None,
) -> None:
    """Run detector, classifier, tracker and votes over labelled clips and count correct verdicts."""
    folder = folder or shared_data() / "clips"
    if not (folder / "clips.json").is_file():
        raise UsageError(f"{folder / 'clips.json'}: no such file; expected a folder of clips with their labels")
    from edge_app.config.layers import resolve
    from export.classifier.clips import evaluate as measure

    show(measure(folder, resolve(config=None, assignments=assignments or (), flags={}).settings))


def _evaluate_classifier(data: Path, folder: Path, plots: Path | None, mistakes: Path | None) -> dict[str, Any]:
    from edge_app.inference.model import Model
    from export.classifier import evaluate as measure
    from export.classifier import plots as draw

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
    from edge_app.inference.model import Model
    from edge_app.vision.detector import ENGINES, score_threshold
    from export.common.engines import open_engine
    from export.detector import compare
    from export.detector import evaluate as measure

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
        rows = {name: result.report() for name, result in results.items()}
        for name, each in engines.items():
            close = measure.close_up(each, pictures, side, cuts[name])
            rows[name][f"faces that fill {measure.FILLING:.0%} of the frame"] = close
        if f"score@{side}" in thresholds:
            rows[folder.name]["shipped threshold"] = results[folder.name].at(thresholds[f"score@{side}"])
        out[f"long side {side} px"] = rows
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
        # The peer's error against itself at another scale is a lower bound for any net.
        rivals = {folder.name: first, f"{path.stem} at three quarters of the size": compare.at_scale(peer, 0.75)}
        out[f"landmarks beside {path.stem}, in face widths"] = {
            name: compare.landmark_gap(each, peer, pictures, max(sizes), score) for name, each in rivals.items()
        }
    return out

"""From a checkpoint to a model folder: export, check, quantize, measure on val, write manifest, card and plots."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.inference.manifest import CROP_RESIZE, FRAME_RESIZE
from edge_app.inference.model import models_dir
from edge_app.vision import crops as pixels
from export.classifier import evaluate as evaluate_classifier
from export.classifier import plots as classifier_plots
from export.classifier import train as classifier
from export.classifier.data import Faces
from export.classifier.quantize import calibration_crops, quantize
from export.common.engines import open_engine
from export.common.from_onnx import RELEASED
from export.common.manifest import save_manifest, step, write_manifest
from export.common.shared import shared_data
from export.common.to_onnx import describe_teacher, export_classifier, export_detector
from export.common.training import Curve, load_checkpoint
from export.detector import evaluate as evaluate_detector
from export.detector import train as detector
from export.detector.augment import DRAWN, TURNED, UNDER
from export.detector.batches import FACES_PASTED, PASTED, WHOLE, WHOLE_LARGE
from export.detector.net import OUTPUTS, kernels_of, like

CAUTION = "Web images of mixed or no licence, used for training and evaluation only; none is in this project."
SIZES = (320, 640)  # detector input sizes that are measured
# Folder in `models`, name, and purpose.
DETECTOR = (
    "face_detector",
    "face_detector",
    "Finds faces, masked and bare alike; run by cv2.FaceDetectorYN or onnxruntime.",
)
TEACHER = (
    "face_detector/teacher",  # not a model of the runtime, so not beside those
    "face_teacher",
    "Teaches face detectors (`train-detector --teacher`); {} times as wide, too slow for boards.",
)
# Options of training that its command names where they differ.
USUAL = {"device": "cpu", "batch": detector.BATCH, "times": 1, "only": ""}


def release_detector(run: Path, folder: Path | None = None, version: str = "1") -> dict[str, Any]:
    """Make `models/face_detector` from a training folder, or the folder teacher in it from that of a wider net. Gives
    the metrics that went into the manifest."""
    state = load_checkpoint(run / "checkpoint.pt") or {}
    times = like(kernels_of(state["average"])).times
    place, name, purpose = DETECTOR if times == 1 else TEACHER
    folder = folder or models_dir() / place
    data = shared_data() / "scenes"
    worst = export_detector(run / "checkpoint.pt", folder / "model.onnx")
    if times > 1:
        describe_teacher(folder / "model.onnx", times, state["spent"] / 60, state["device"])
    pictures = evaluate_detector.read(data / "val.json", data / "images")
    results = {size: evaluate_detector.evaluate(open_engine(folder / "model.onnx"), pictures, size) for size in SIZES}
    (folder / "plots").mkdir(exist_ok=True)
    evaluate_detector.plot({f"{size} px": r for size, r in results.items()}, folder / "plots" / "recall.png")
    Curve(run / "curve.csv").plot(folder / "plots" / "training.png")
    (folder / "training.csv").write_bytes((run / "curve.csv").read_bytes())
    parts, start = " and ".join(map(str, state.get("averaged", []))), state.get("start")
    teachers, own = state.get("teachers", []), "models/face_detector/model.onnx"
    measured = {f"scenes/val, long side {s} px": _without_time(r.report()) for s, r in results.items()}
    write_manifest(
        folder,
        {"fp32": "model.onnx"},
        name=name,
        version=version,
        task="face_detection",
        input={
            "name": "input",
            "shape": [1, 3, "height", "width"],
            "colour": "BGR",
            "resize": FRAME_RESIZE,
        },
        outputs=[
            {
                "name": name,
                "shape": [1, f"cells_{name}", {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}[name.split("_")[0]]],
            }
            for name in OUTPUTS
        ],
        labels=["face"],
        # Rounded up: rounded down, a few false positives more would pass.
        thresholds={
            f"score@{s}": math.ceil(1e4 * r.threshold(evaluate_detector.FALSE_RATE)) / 1e4 for s, r in results.items()
        },
        metrics={"torch against onnxruntime, largest difference": worst, **measured},
        training={
            "purpose": purpose.format(times),
            "data": [
                "scenes/train.json (kaggle-853, ilc-2021, modelarts-hard): 1,723 images, boxed by hand",
                "auto_bare.json: 663 photos and auto_street.json: 392 street frames, boxed by machine",
                "photos/train: 4,367 photos in which YuNet is sure of a face; landmarks everywhere come from YuNet",
                "boxes of all sets moved to end where those of ilc-2021 do",
                f"whole pictures labelled by hand in {100 * WHOLE:g} % of the windows of 320 px and "
                f"{100 * WHOLE_LARGE:g} % of larger ones",
                f"in other windows, of bare faces with landmarks {100 * DRAWN:g} % get a drawn mask, "
                f"{100 * UNDER:g} % of those below the nose, {100 * TURNED:g} % become backs of heads",
                "hard.csv: faces that no label marks, ignored (of train.json: to score below labelled ones); places "
                f"where an earlier net erred, shown more often and (where no face is) pasted into {100 * PASTED:g} % "
                "of those windows",
                "faces of pictures labelled by hand, those that people left out too, pasted into "
                f"{100 * FACES_PASTED:g} % of them",
            ],
            "caution": CAUTION,
            "command": _command("train-detector", own, "runs/wide/teacher.onnx", {**state, "times": times}),
            **({"weights at the start": start} if start else {}),
            **({"learnt from": teachers} if teachers else {}),
            **({"where": state["where"]} if state.get("where") else {}),
            **({"weights": f"mean of those at {parts} (`python -m export average`)"} if parts else {}),
            "steps": state.get("step"),
            "minutes": round(state.get("spent", 0) / 60, 1),
            "limits": [
                "Score thresholds are set on scenes/val at 0.05 false positives an image; it is also what is reported.",
                "Faces under 16 px in a picture of 640 px on its long side were not measured.",
                "Printed and painted faces may be found.",
            ],
        },
    )
    return measured


def _command(train: str, start: str, teacher: str, state: dict[str, Any]) -> str:
    """What trains such a model; start: its released file, to begin at or learn from; teacher: another to learn from."""
    # Boxes alone are learnt without teachers, whoever taught the scores before.
    taught = [] if state.get("only") == "boxes" else state.get("teachers", [])
    return " ".join(
        [
            f"python -m export {train} --minutes {state.get('spent', 0) / 60:.0f} --seed {state.get('seed', 0)}",
            *(f"--{name} {state[name]}" for name, usual in USUAL.items() if state.get(name, usual) != usual),
            *(["--mix"] if state.get("mix") else []),
            *([f"--start {start}"] if state.get("start") else []),
            *(f"--teacher {start if RELEASED in said else teacher}" for said in taught),
        ]
    )


def _without_time(report: dict[str, Any]) -> dict[str, Any]:
    """Times belong to a machine, not to a model."""
    return {k: v for k, v in report.items() if k != "ms"}


def release_classifier(run: Path, folder: Path | None = None, version: str = "1") -> dict[str, Any]:
    """Make a candidate, stage beta, from a training folder; `promote` takes it on. Gives the metrics in its manifest.

    folder: where to; None: `mask_classifier` in the training folder.
    """
    folder = folder or run / "mask_classifier"
    data = shared_data() / "scenes"
    return build_classifier(
        run, folder, Faces(run / "faces"), evaluate_classifier.read_coco(data / "val.json", data / "images"),
        "scenes/val, labelled boxes of 20 px and more", version,
    )  # fmt: skip


def build_classifier(
    run: Path, folder: Path, train: Faces, val: evaluate_classifier.Crops, val_name: str, version: str
) -> dict[str, Any]:
    """Export, quantize and measure a trained classifier; its stage is beta.

    Args:
        run: folder with checkpoint.pt and curve.csv. train: faces for calibration. val: faces for temperature,
        thresholds and metrics.
    """
    worst = export_classifier(classifier.load(run / "checkpoint.pt"), folder / "model.onnx", pixels.CROP_SIZE)
    quantize(folder / "model.onnx", folder / "model.int8.onnx", calibration_crops(train))
    state = load_checkpoint(run / "checkpoint.pt") or {}
    added: list[tuple[str, int]] = state.get("added", [])
    start, teachers = state.get("start"), state.get("teachers", [])
    truth = (val.labels == "mask").astype(float)
    rest: dict[str, Any] = {
        "name": "mask_classifier",
        "version": version,
        "task": "mask_classification",
        "stage": "beta",
        "input": {
            "name": "input",
            "shape": ["batch", 3, pixels.CROP_SIZE, pixels.CROP_SIZE],
            "colour": "RGB",
            "mean": pixels.PIXEL_MEAN,
            "scale": pixels.PIXEL_SCALE,
            "crop_margin": pixels.CROP_MARGIN,
            "resize": CROP_RESIZE,
        },
        "outputs": [{"name": "logits", "shape": ["batch", 2]}],
        "labels": classifier.LABELS,
        "training": {
            "purpose": "Says of a face crop how probably the face wears a mask properly.",
            "data": [
                "scenes/train.json and auto_bare.json: labelled faces of 14 px and more",
                "photos/train (ck, rmfd, karan): the face that our own detector finds in each photo",
                "boxes half as labelled, half as our own detector gives them at 320 px; both are moved at random",
                f"{len(train):,} faces in all; masks and other objects are drawn on some",
                *(f"{name}: {n:,} more faces, labelled by an earlier model and reviewed" for name, n in added),
            ],
            "caution": CAUTION,
            "network": f"ResNet-18 layout of torchvision basic blocks, first stage {state.get('width')} channels",
            **({"weights at the start": start} if start else {}),
            **(
                {"learnt from": [f"{teacher} ({100 * classifier.TAUGHT:g} % of each label)" for teacher in teachers]}
                if teachers
                else {}
            ),
            "command": _command(
                "train-classifier", "models/mask_classifier/model.onnx", "runs/teacher/teacher.onnx", state
            ),
            "steps": state.get("step"),
            "minutes": round(state.get("spent", 0) / 60, 1),
            "limits": [
                f"Temperature and thresholds are set on {val_name}; the same faces are reported.",
                "Faces under 20 px were not measured.",
                "A mask on the chin or under the nose is harder than a bare face; see `incorrect_mask flagged`.",
            ],
        },
    }
    names = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
    plain = {"thresholds": {"mask": 0.6, "no_mask": 0.4}, "metrics": {}, "temperature": 1.0}
    write_manifest(folder, names, **rest, **plain)  # a first one, so that the runtime's own classifier can measure
    raw = evaluate_classifier.probabilities(folder, "int8", val.crops).clip(1e-7, 1 - 1e-7)
    temperature = evaluate_classifier.fit_temperature(np.log(raw / (1 - raw)), truth)
    write_manifest(folder, names, **rest, **{**plain, "temperature": temperature})
    scores = {p: evaluate_classifier.probabilities(folder, p, val.crops) for p in names}
    measured = {f"{val_name}, {p}": evaluate_classifier.report(val, s) for p, s in scores.items()}
    thresholds = evaluate_classifier.bounds(scores["int8"], val.labels)
    classifier_plots.plot(val, scores["int8"], folder / "plots", thresholds)
    Curve(run / "curve.csv").plot(folder / "plots" / "training.png")
    (folder / "training.csv").write_bytes((run / "curve.csv").read_bytes())
    sizes = {"torch against onnxruntime, largest difference": worst, **measured}
    last = {"temperature": round(temperature, 4), "thresholds": thresholds, "metrics": sizes}
    manifest = write_manifest(folder, names, **rest, **last)
    shown = {k: measured[f"{val_name}, int8"][k] for k in ("accuracy", "roc_auc", "no_mask")}
    released = step(manifest, "beta", shown, len(val.labels), val_name, None)
    save_manifest(folder, manifest.model_copy(update={"history": [released]}))
    return measured

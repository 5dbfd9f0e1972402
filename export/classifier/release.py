"""From a checkpoint to a model folder of the classifier: export, check, quantize, measure on val, write manifest, card
and plots."""

from pathlib import Path
from typing import Any

import numpy as np

from edge_app.inference.manifest import CROP_RESIZE
from edge_app.vision import crops as pixels
from export.classifier import evaluate as measure
from export.classifier import plots
from export.classifier.data import Faces
from export.classifier.quantize import calibration_crops, quantize
from export.classifier.to_onnx import export_classifier
from export.classifier.train import LABELS, load
from export.common.manifest import save_manifest, step, write_manifest
from export.common.release import CAUTION, command_line, recorded
from export.common.shared import shared_data
from export.common.training import Curve, load_checkpoint


def release_classifier(run: Path, folder: Path | None = None, version: str = "1") -> dict[str, Any]:
    """Make a candidate, stage beta, from a training folder; `promote` takes it on. Gives the metrics in its manifest.

    folder: where to; None: `mask_classifier` in the training folder.
    """
    folder = folder or run / "mask_classifier"
    data = shared_data() / "scenes"
    return build_classifier(
        run, folder, Faces(run / "faces"), measure.read_coco(data / "val.json", data / "images"),
        "scenes/val, labelled boxes of 20 px and more", version,
    )  # fmt: skip


def build_classifier(
    run: Path, folder: Path, train: Faces, val: measure.Crops, val_name: str, version: str
) -> dict[str, Any]:
    """Export, quantize and measure a trained classifier; its stage is beta.

    Args:
        run: folder with checkpoint.pt and curve.csv. train: faces for calibration. val: faces for temperature,
        thresholds and metrics.
    """
    worst = export_classifier(load(run / "checkpoint.pt"), folder / "model.onnx", pixels.CROP_SIZE)
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
        "labels": LABELS,
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
            **({"learnt from": teachers} if teachers else {}),
            "command": command_line(
                "train-classifier", "models/mask_classifier/model.onnx", "runs/teacher/teacher.onnx", state
            ),
            **recorded(state),
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
    raw = measure.probabilities(folder, "int8", val.crops).clip(1e-7, 1 - 1e-7)
    temperature = measure.fit_temperature(np.log(raw / (1 - raw)), truth)
    write_manifest(folder, names, **rest, **{**plain, "temperature": temperature})
    scores = {p: measure.probabilities(folder, p, val.crops) for p in names}
    measured = {f"{val_name}, {p}": measure.report(val, s) for p, s in scores.items()}
    thresholds = measure.bounds(scores["int8"], val.labels)
    plots.plot(val, scores["int8"], folder / "plots", thresholds)
    Curve(run / "curve.csv").plot(folder / "plots" / "training.png")
    (folder / "training.csv").write_bytes((run / "curve.csv").read_bytes())
    sizes = {"torch against onnxruntime, largest difference": worst, **measured}
    last = {"temperature": round(temperature, 4), "thresholds": thresholds, "metrics": sizes}
    manifest = write_manifest(folder, names, **rest, **last)
    shown = {k: measured[f"{val_name}, int8"][k] for k in ("accuracy", "roc_auc", "no_mask")}
    released = step(manifest, "beta", shown, len(val.labels), val_name, None)
    save_manifest(folder, manifest.model_copy(update={"history": [released]}))
    return measured

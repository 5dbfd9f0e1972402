"""Evaluate a mask classifier on labelled boxes of a COCO file, or on a folder of photos with a subfolder per label.

Scores are the calibrated mask probability; the predicted class (`called`) is mask from 0.5 up. incorrect_mask (nose or
chin out) counts as no_mask and is also reported on its own.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from edge_app.config.settings import ClassifierSettings
from edge_app.errors import UsageError
from edge_app.inference.model import Model
from edge_app.vision.classifier import MaskClassifier
from edge_app.vision.crops import CROP_SIZE, crop_face
from export.classifier.data import read_image
from export.common import coco as coco_file
from export.common.timing import in_turn

Float = npt.NDArray[np.float64]
MIN_FACE = 20  # pixels of width
LABELS = ("mask", "no_mask", "incorrect_mask")
SIZES = ((20, 32), (32, 64), (64, 10_000))


@dataclass(slots=True)
class Crops:
    """crops uint8 (n, S, S, 3) BGR; labels, sources (n,) text; widths (n,) of the faces, pixels;
    files (n,) the pictures' names, where they are known."""

    crops: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.str_]
    sources: npt.NDArray[np.str_]
    widths: Float
    files: npt.NDArray[np.str_] | None = None


def read_coco(coco: Path, images: Path, min_face: int = MIN_FACE) -> Crops:
    """Labelled faces (mask, no_mask, incorrect_mask) at least `min_face` pixels wide, as crops.

    Crowds and annotations that wait for review are left out.

    Raises:
        UsageError: not such a file, or without a single such face.
    """
    data = coco_file.read(coco)
    names = {c["id"]: c["name"] for c in data["categories"]}
    files = {i["id"]: i for i in data["images"]}
    rows: list[tuple[Any, ...]] = []
    image, loaded = None, None
    for note in sorted(data["annotations"], key=lambda n: n["image_id"]):
        x, y, w, h = note["bbox"]
        label = names[note["category_id"]]
        if note.get("iscrowd") or note.get("review") or label not in LABELS or w < min_face:
            continue
        if loaded != note["image_id"]:
            loaded, image = note["image_id"], read_image(images / files[note["image_id"]]["file_name"])
        if image is not None:
            crop = crop_face(image, np.array([x, y, x + w, y + h], np.float32))
            entry = files[loaded]
            rows.append((crop, label, entry.get("source", coco.stem), w, entry["file_name"]))
    return _gather(rows, coco)


def read_folder(folder: Path, find: Any) -> Crops:
    """Photos in `folder/mask` and `folder/no_mask`: the largest face that `find(image)` (detections) gives of each."""
    rows: list[tuple[Any, ...]] = []
    for label in LABELS:
        for path in sorted((folder / label).iterdir()) if (folder / label).is_dir() else ():
            image = read_image(path)
            boxes = find(image).xyxy if image is not None else ()
            if image is not None and len(boxes):
                box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
                rows.append((crop_face(image, box), label, path.name.split("_")[0], box[2] - box[0], path.name))
    return _gather(rows, folder)


def _gather(rows: list[tuple[Any, ...]], data: Path) -> Crops:
    if not rows:
        raise UsageError(f"{data}: no labelled face was found: expected labels mask, no_mask or incorrect_mask")
    crops, labels, sources, widths, files = zip(*rows, strict=True)
    return Crops(np.stack(crops), np.array(labels), np.array(sources), np.array(widths, float), np.array(files))


def probabilities(folder: Path, precision: str, crops: npt.NDArray[np.uint8]) -> Float:
    """Calibrated mask probability of every crop, through the runtime's own classifier."""
    classifier = MaskClassifier(ClassifierSettings(model=folder, precision=precision, stage="beta"))
    parts = [classifier.probabilities(crops[i : i + 64]) for i in range(0, len(crops), 64)]
    return np.concatenate(parts).astype(float)


def expected_calibration_error(probability: Float, truth: Float, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy of the predicted class over bins ('On Calibration of Modern Neural
    Networks', 1706.04599)."""
    confidence = np.maximum(probability, 1 - probability)
    right = (probability >= 0.5) == (truth > 0.5)
    place = np.clip(((confidence - 0.5) * 2 * bins).astype(int), 0, bins - 1)
    gaps = [
        (place == b).mean() * abs(confidence[place == b].mean() - right[place == b].mean()) for b in np.unique(place)
    ]
    return float(sum(gaps))


def report(faces: Crops, probability: Float) -> dict[str, Any]:
    """All metrics of one model on one set, each with its n: of all faces, by true label, source and face size."""
    truth, called = faces.labels == "mask", probability >= 0.5
    out = _figures(truth, probability)
    out["confusion"] = {
        label: {"called mask": int(called[chosen].sum()), "called no_mask": int((~called[chosen]).sum())}
        for label in LABELS
        if (chosen := faces.labels == label).any()
    }
    for label in ("incorrect_mask", "no_mask"):
        chosen = faces.labels == label
        if chosen.any():
            key = "incorrect_mask flagged" if label == "incorrect_mask" else "bare called mask"
            share = float((called[chosen] == (label != "incorrect_mask")).mean())
            out[key] = {"share": share, "n": int(chosen.sum())}
    groups = {f"source {s}": faces.sources == s for s in np.unique(faces.sources)}
    groups |= {
        f"width {a}-{b} px" if b < 1000 else f"width {a} px up": (faces.widths >= a) & (faces.widths < b)
        for a, b in SIZES
    }
    for name, chosen in groups.items():
        if chosen.any():
            out[name] = _figures(truth[chosen], probability[chosen])
    rounded: dict[str, Any] = _rounded(out)
    return rounded


def _figures(truth: npt.NDArray[np.bool_], probability: Float) -> dict[str, Any]:
    """n, accuracy, ROC AUC (None for a single class), expected calibration error, and metrics per class."""
    called = probability >= 0.5
    out: dict[str, Any] = {
        "n": len(truth),
        "accuracy": float((called == truth).mean()),
        "roc_auc": float(metrics.roc_auc_score(truth, probability)) if 0 < truth.mean() < 1 else None,
        "ece": expected_calibration_error(probability, truth.astype(float)),
    }
    for name, positive in (("mask", True), ("no_mask", False)):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            truth, called, labels=[positive], average=None, zero_division=0.0
        )
        n = int((truth == positive).sum())
        out[name] = {"precision": float(precision[0]), "recall": float(recall[0]), "f1": float(f1[0]), "n": n}
    return out


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def fit_temperature(logits: Float, truth: Float) -> float:
    """Temperature scaling (1706.04599): that of least log loss, by grid search; logits (n,): mask minus no_mask."""
    candidates = np.geomspace(0.3, 5, 200)
    losses = [np.logaddexp(0, -np.where(truth > 0.5, 1, -1) * logits / t).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def bounds(probability: Float, labels: npt.NDArray[np.str_]) -> dict[str, float]:
    """Thresholds of the unsure band: fewer than 1 % of bare faces are above `mask`, fewer than 1.5 % of masked ones
    below `no_mask`; never narrower than 0.4 to 0.6, nor wider than 0.1 to 0.97."""
    bare, masked = probability[labels == "no_mask"], probability[labels == "mask"]
    high = max(0.6, float(np.quantile(bare, 0.99, method="higher")) + 1e-3) if len(bare) else 0.6
    low = min(0.4, float(np.quantile(masked, 0.015))) if len(masked) else 0.4
    return {"mask": round(min(high, 0.97), 3), "no_mask": round(max(low, 0.1), 3)}


def milliseconds(folder: Path) -> dict[str, float]:
    """Median time of one face at one thread for every precision, the network alone, taken in turn."""
    model = Model(folder)
    sessions = {precision: model.session(precision, threads=1) for precision in model.manifest.files}
    face = np.zeros((1, 3, CROP_SIZE, CROP_SIZE), np.float32)
    calls = {p: partial(s.run, None, {model.manifest.input.name: face}) for p, s in sessions.items()}
    return in_turn(calls, rounds=100)

"""Measure a mask classifier on labelled boxes of a COCO file, or on a folder of photos with one sub-folder a label.

Scores are the calibrated mask probability; a face counts as called mask from 0.5 up. incorrect_mask (nose or chin out)
counts as no_mask and is also reported on its own.
"""

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from edge_app.classifier import MaskClassifier
from edge_app.errors import UsageError
from edge_app.faces import crop_face
from edge_app.models import Model
from edge_app.settings import ClassifierSettings
from export import coco_file
from export.classifier_data import read_image

Float = npt.NDArray[np.float64]
MIN_FACE = 20  # pixels of width
SIZES = ((20, 32), (32, 64), (64, 10_000))


@dataclass(slots=True)
class Crops:
    """crops uint8 (n, 112, 112, 3) BGR; labels, sources (n,) text; widths (n,) of the faces, pixels."""

    crops: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.str_]
    sources: npt.NDArray[np.str_]
    widths: Float


def read_coco(coco: Path, images: Path, min_face: int = MIN_FACE) -> Crops:
    """Labelled faces (mask, no_mask, incorrect_mask) at least `min_face` pixels wide.

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
        if (
            note.get("iscrowd")
            or note.get("review")
            or label not in ("mask", "no_mask", "incorrect_mask")
            or w < min_face
        ):
            continue
        if loaded != note["image_id"]:
            loaded, image = note["image_id"], read_image(images / files[note["image_id"]]["file_name"])
        if image is not None:
            crop = crop_face(image, np.array([x, y, x + w, y + h], np.float32))
            rows.append((crop, label, files[loaded].get("source", coco.stem), w))
    return _gather(rows, coco)


def read_folder(folder: Path, find: Any) -> Crops:
    """Photos in `folder/mask` and `folder/no_mask`: the largest face that `find(image)` (detections) gives of each."""
    rows: list[tuple[Any, ...]] = []
    for label in ("mask", "no_mask", "incorrect_mask"):
        for path in sorted((folder / label).iterdir()) if (folder / label).is_dir() else ():
            image = read_image(path)
            boxes = find(image).xyxy if image is not None else ()
            if image is not None and len(boxes):
                box = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
                rows.append((crop_face(image, box), label, path.name.split("_")[0], box[2] - box[0]))
    return _gather(rows, folder)


def _gather(rows: list[tuple[Any, ...]], data: Path) -> Crops:
    if not rows:
        raise UsageError(f"{data}: no labelled face was found: expected labels mask, no_mask or incorrect_mask")
    crops, labels, sources, widths = zip(*rows, strict=True)
    return Crops(np.stack(crops), np.array(labels), np.array(sources), np.array(widths, float))


def probabilities(folder: Path, precision: str, crops: npt.NDArray[np.uint8]) -> Float:
    """Calibrated mask probability of every crop, through the runtime's own classifier."""
    classifier = MaskClassifier(ClassifierSettings(model=folder, precision=precision, stage="beta"))
    parts = [classifier.probabilities(crops[i : i + 64]) for i in range(0, len(crops), 64)]
    return np.concatenate(parts).astype(float)


def expected_calibration_error(probability: Float, truth: Float, bins: int = 15) -> float:
    """Mean gap between confidence in the called class and its accuracy ('On Calibration', 1706.04599)."""
    confidence = np.maximum(probability, 1 - probability)
    right = (probability >= 0.5) == (truth > 0.5)
    place = np.clip(((confidence - 0.5) * 2 * bins).astype(int), 0, bins - 1)
    gaps = [
        (place == b).mean() * abs(confidence[place == b].mean() - right[place == b].mean()) for b in np.unique(place)
    ]
    return float(sum(gaps))


def report(faces: Crops, probability: Float) -> dict[str, Any]:
    """All figures of one model on one set, each with its n."""
    truth = (faces.labels == "mask").astype(float)
    called = (probability >= 0.5).astype(float)
    out: dict[str, Any] = {
        "n": len(truth),
        "accuracy": float((called == truth).mean()),
        "roc_auc": float(metrics.roc_auc_score(truth, probability)) if 0 < truth.mean() < 1 else None,
        "ece": expected_calibration_error(probability, truth),
    }
    for name, positive in (("mask", 1.0), ("no_mask", 0.0)):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            truth, called, labels=[positive], average=None, zero_division=0.0
        )
        n = int((truth == positive).sum())
        out[name] = {"precision": float(precision[0]), "recall": float(recall[0]), "f1": float(f1[0]), "n": n}
    for label in ("incorrect_mask", "no_mask"):
        chosen = faces.labels == label
        if chosen.any():
            key = "incorrect_mask flagged" if label == "incorrect_mask" else "bare called mask"
            share = float((called[chosen] == (0.0 if label == "incorrect_mask" else 1.0)).mean())
            out[key] = {"share": share, "n": int(chosen.sum())}
    groups = {f"source {s}": faces.sources == s for s in np.unique(faces.sources)}
    groups |= {
        f"width {a}-{b} px" if b < 1000 else f"width {a} px up": (faces.widths >= a) & (faces.widths < b)
        for a, b in SIZES
    }
    for name, chosen in groups.items():
        if chosen.any():
            out[name] = {"accuracy": float((called[chosen] == truth[chosen]).mean()), "n": int(chosen.sum())}
    rounded: dict[str, Any] = _rounded(out)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def fit_temperature(logits: Float, truth: Float) -> float:
    """The temperature of least log loss, by search: logits (n,) are mask minus no_mask."""
    candidates = np.geomspace(0.3, 5, 200)
    losses = [np.logaddexp(0, -np.where(truth > 0.5, 1, -1) * logits / t).mean() for t in candidates]
    return float(candidates[int(np.argmin(losses))])


def bounds(probability: Float, labels: npt.NDArray[np.str_]) -> dict[str, float]:
    """Bounds of the unsure band: from `mask` up fewer than 1 % of bare faces lie, up to `no_mask` fewer than 1.5 % of
    masked ones; never narrower than 0.4 to 0.6."""
    bare, masked = probability[labels == "no_mask"], probability[labels == "mask"]
    high = max(0.6, float(np.quantile(bare, 0.99)) + 1e-3) if len(bare) else 0.6
    low = min(0.4, float(np.quantile(masked, 0.015))) if len(masked) else 0.4
    return {"mask": round(min(high, 0.9), 3), "no_mask": round(max(low, 0.1), 3)}


def milliseconds(folder: Path, repeats: int = 60) -> dict[str, float]:
    """Median time of one face at one thread for every precision, taken in turn."""
    precisions = list(Model(folder).manifest.files)
    nets = {p: MaskClassifier(ClassifierSettings(model=folder, precision=p, stage="beta")) for p in precisions}
    crop = np.random.default_rng(0).integers(0, 255, (1, 112, 112, 3)).astype(np.uint8)
    times: dict[str, list[float]] = {p: [] for p in precisions}
    for _ in range(repeats):
        for p, net in nets.items():
            start = time.perf_counter()
            net.probabilities(crop)
            times[p].append((time.perf_counter() - start) * 1e3)
    return {p: round(float(np.median(t)), 3) for p, t in times.items()}


def plot(faces: Crops, probability: Float, folder: Path) -> None:
    """confusion.png, roc.png and reliability.png; curves only, no picture of a face."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    truth, called = faces.labels == "mask", probability >= 0.5
    names = ["mask", "no_mask"]
    figure, axis = plt.subplots(figsize=(3.6, 3.2))
    metrics.ConfusionMatrixDisplay.from_predictions(
        np.where(truth, *names), np.where(called, *names), labels=names, ax=axis, colorbar=False
    )
    _save(figure, folder / "confusion.png")
    figure, axis = plt.subplots(figsize=(4, 3.4))
    false_rate, true_rate, _ = metrics.roc_curve(truth, probability)
    axis.plot(np.maximum(false_rate, 1e-3), true_rate)
    axis.set(xscale="log", xlim=(1e-3, 1), ylim=(0.6, 1), xlabel="bare or badly masked faces called mask")
    axis.set(ylabel="masked faces called mask", title=f"ROC, area {metrics.auc(false_rate, true_rate):.4f}")
    axis.grid(alpha=0.3)
    _save(figure, folder / "roc.png")
    figure, axis = plt.subplots(figsize=(4, 3.4))
    edges = np.linspace(0, 1, 11)
    for a, b in itertools.pairwise(edges):
        chosen = (probability >= a) & (probability < b + (b == 1))
        if chosen.any():
            axis.plot(
                probability[chosen].mean(), truth[chosen].mean(), "o", color="C0", ms=3 + np.log10(chosen.sum()) * 2
            )
    axis.plot([0, 1], [0, 1], ":", color="grey")
    axis.set(xlabel="mask probability", ylabel="share that wears a mask", title="reliability")
    _save(figure, folder / "reliability.png")


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)

"""Plots of a classifier's evaluation: curves that may be published, and a sheet of faces that may not."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from sklearn import metrics

from edge_app.bench.plots import pyplot
from export.classifier.evaluate import Crops, Float

plt = pyplot()

WORST = 40  # faces on a sheet
PRIVATE = "This sheet shows people: for your own eyes, not to be published or committed."


def plot(faces: Crops, probability: Float, folder: Path, thresholds: Mapping[str, float]) -> None:
    """confusion.png, roc.png, precision_recall.png and reliability.png; curves only, no picture of a face.

    Args:
        thresholds: `mask` and `no_mask` of the manifest, marked on the precision-recall curves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth, called = faces.labels == "mask", probability >= 0.5
    names = ["mask", "no_mask"]
    figure, axis = plt.subplots(figsize=(3.6, 3.2))
    metrics.ConfusionMatrixDisplay.from_predictions(
        np.where(truth, *names), np.where(called, *names), labels=names, ax=axis, colorbar=False
    )
    _save(figure, folder / "confusion.png")
    if len(np.unique(truth)) == 2:  # a single class has no curve
        _roc(truth, probability, folder)
        _precision_recall(truth, probability, thresholds, folder)
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


def _roc(truth: npt.NDArray[np.bool_], probability: Float, folder: Path) -> None:
    figure, axis = plt.subplots(figsize=(4, 3.4))
    false_rate, true_rate, _ = metrics.roc_curve(truth, probability)
    axis.plot(np.maximum(false_rate, 1e-3), true_rate)
    axis.set(xscale="log", xlim=(1e-3, 1), ylim=(0.6, 1), xlabel="bare or badly masked faces called mask")
    axis.set(ylabel="masked faces called mask", title=f"ROC, area {metrics.auc(false_rate, true_rate):.4f}")
    axis.grid(alpha=0.3)
    _save(figure, folder / "roc.png")


def _precision_recall(
    truth: npt.NDArray[np.bool_], probability: Float, thresholds: Mapping[str, float], folder: Path
) -> None:
    """A curve for each class, with a dot at the shipped threshold of the class."""
    figure, axis = plt.subplots(figsize=(4, 3.4))
    sides = {
        "mask": (truth, probability, thresholds["mask"]),
        "no_mask": (~truth, 1 - probability, 1 - thresholds["no_mask"]),
    }
    for name, (positive, score, bound) in sides.items():
        precision, recall, _ = metrics.precision_recall_curve(positive, score)
        (line,) = axis.plot(recall, precision, label=name)
        called = score >= bound - 1e-9
        if called.any():
            sign = "≥" if name == "mask" else "≤"
            axis.plot(
                called[positive].mean(), positive[called].mean(), "o", color=line.get_color(),
                label=f"mask probability {sign} {thresholds[name]:g}",
            )  # fmt: skip
    axis.set(xlim=(0.6, 1.005), ylim=(0.6, 1.005), xlabel="recall", ylabel="precision", title="precision and recall")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left", fontsize=7)
    _save(figure, folder / "precision_recall.png")


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def mistakes(faces: Crops, probability: Float, file: Path) -> int:
    """Draw the worst mistakes, surest first, each with its label, mask probability and file name.

    A .gitignore beside the sheet keeps it out of any repository.

    Returns:
        How many faces the sheet shows; without any mistake there is no sheet.
    """
    wrong = np.flatnonzero((probability >= 0.5) != (faces.labels == "mask"))
    worst = wrong[np.argsort(-np.abs(probability[wrong] - 0.5), kind="stable")][:WORST]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)  # an earlier one would be mistaken for this run's
    (file.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    if not len(worst):
        return 0
    rows = -(-len(worst) // 8)
    figure, axes = plt.subplots(rows, 8, figsize=(14, 2.1 * rows + 0.5), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, i in zip(axes.flat, worst, strict=False):
        axis.imshow(cv2.cvtColor(faces.crops[i], cv2.COLOR_BGR2RGB))
        name = "" if faces.files is None else str(faces.files[i])[-28:]
        axis.set_title(f"{faces.labels[i]}, p(mask) {probability[i]:.2f}\n{name}", fontsize=7, parse_math=False)
    figure.suptitle(PRIVATE, fontsize=10)
    _save(figure, file)
    return len(worst)

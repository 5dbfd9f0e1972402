"""End-to-end evaluation of detector and classifier, as `edge-app image` runs them: the shares of all labelled faces
that are detected, and detected and classified correctly, also with another detector before the same classifier.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edge_app.config.settings import ClassifierSettings, VerdictSettings
from edge_app.vision.classifier import MaskClassifier, face_label
from edge_app.vision.crops import crop_faces
from edge_app.vision.detector import Engine
from export.common.engines import iou, xyxy
from export.detector.evaluate import Picture, at_long_side, load, matches

SMALLEST = 24.0  # pixels of the picture


def together(
    engine: Engine, threshold: float, classifier: Path | None, pictures: list[Picture], long_side: int
) -> dict[str, Any]:
    """Shares of the labelled faces of `SMALLEST` pixels width and more.

    Correct is mask for properly masked faces and no_mask for the others. `by side`: at a mask probability of 0.5;
    `told`: of the label with the manifest's unsure band, where unsure is not correct.

    Args:
        threshold: lowest detector score.
        classifier: model folder; None: the one that comes with edge_app.
    """
    model = MaskClassifier(ClassifierSettings(model=classifier))
    high, low = model.bounds(VerdictSettings())
    rows: list[tuple[str, bool, bool, bool, bool]] = []  # label, found, right by side, right and wrong by verdict
    for picture in pictures:
        image = load(picture)
        small, scale = at_long_side(image, long_side)
        found = engine(small)
        found = found[found[:, 14] >= threshold]
        boxes = xyxy(found) / np.float32(scale)
        probability = model.probabilities(crop_faces(image, boxes))
        fits, overlap = matches(boxes, picture.faces), iou(boxes, picture.faces)
        for j, label in enumerate(picture.labels):
            if picture.faces[j, 2] - picture.faces[j, 0] < SMALLEST:
                continue
            near = np.flatnonzero(fits[:, j])
            if len(near) == 0:
                rows.append((label, False, False, False, False))
                continue
            p = float(probability[near[overlap[near, j].argmax()]])
            right = "mask" if label == "mask" else "no_mask"
            verdict = face_label(p, high, low)
            rows.append(
                (label, True, (p >= 0.5) == (right == "mask"), verdict == right, verdict not in (right, "unsure"))
            )
    out: dict[str, Any] = {"score threshold": round(threshold, 4)}
    for name in ("all", "mask", "no_mask", "incorrect_mask"):
        chosen = np.array([r[1:] for r in rows if name in ("all", r[0])], bool).reshape(-1, 4)
        if len(chosen):
            shares = [round(float(v), 4) for v in chosen.mean(0)]
            keys = ("found", "found and right by side", "found and told right", "found and told wrong")
            out[name] = {"n": len(chosen), **dict(zip(keys, shares, strict=True))}
    return out

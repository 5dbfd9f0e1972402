"""Evaluate a face detector on a COCO file: recall by label and size at fixed false positives per image, and AP.

A detection matches a labelled face at IoU >= 0.3, or when three quarters of it lie inside and it covers at least an
eighth of the face: sets differ in what they box, some label the head. Detections on `iscrowd` annotations (faces the
annotators left out) are ignored, and so are faces or detections under 16 px, measured at long side 640.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.bench.plots import pyplot
from edge_app.capture.images import load_image
from edge_app.errors import SourceError, UsageError
from edge_app.vision.detector import Engine
from export.common import coco as coco_file
from export.common.engines import LOWEST_SCORE, Array, iou, xyxy

FALSE_RATE = 0.05  # false positives per image, the operating point
RATES = (0.02, FALSE_RATE, 0.1)
LABELS = ("mask", "no_mask", "incorrect_mask")
SMALLEST, SMALL, LARGE, REFERENCE = 16.0, 24.0, 48.0, 640.0  # pixels, at that long side
SIZES = {"SML": "", "S": " 16-24 px", "SM": " 16-48 px", "L": " 48 px up"}
FILLING = 0.8  # of the frame's side, in `close_up`


@dataclass(slots=True)
class Picture:
    """file, faces xyxy (n, 4) with their labels, ignored regions (k, 4)."""

    file: Path
    faces: Array
    labels: list[str]
    ignored: Array


@dataclass(slots=True)
class Result:
    """scores: best score of each face, -1 where missed; labels, sizes ('S' 16-24 px, 'M' to 48, 'L') of the same faces;
    false: scores of false positives, best first; milliseconds: detector time of each image."""

    images: int
    scores: Array
    labels: list[str]
    sizes: list[str]
    false: Array
    milliseconds: list[float] = field(default_factory=list)

    def threshold(self, rate: float) -> float:
        """Score threshold with at most `rate` false positives per image."""
        at = int(rate * self.images)
        return float(self.false[at]) if at < len(self.false) else LOWEST_SCORE

    def recall(self, label: str, threshold: float, size: str = "SML") -> tuple[float, int]:
        """Share of the label's faces with a score above the threshold, and how many faces there are."""
        chosen = [s for s, c, z in zip(self.scores, self.labels, self.sizes, strict=True) if c == label and z in size]
        return (float(np.mean(np.array(chosen) > threshold)) if chosen else float("nan")), len(chosen)

    def average_precision(self) -> float:
        """Area under the interpolated precision-recall curve."""
        found = self.scores[self.scores > 0]
        score = np.r_[found, self.false]
        order = np.argsort(-score, kind="stable")
        hit = np.r_[np.ones(len(found)), np.zeros(len(self.false))][order].cumsum()
        precision = np.maximum.accumulate((hit / np.arange(1, len(hit) + 1))[::-1])[::-1]
        return float(np.sum(np.diff(np.r_[0, hit / max(1, len(self.scores))]) * precision))

    def at(self, threshold: float) -> dict[str, Any]:
        """Recall by label and size, and false positives an image, at one threshold."""
        row: dict[str, Any] = {
            "threshold": round(threshold, 4),
            "false positives an image": round(float((self.false > threshold).sum()) / max(1, self.images), 4),
        }
        for label in LABELS:
            for size, name in SIZES.items():
                value, n = self.recall(label, threshold, size)
                if n:
                    row[f"{label}{name}"] = {"recall": round(value, 4), "n": n}
        return row

    def report(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "images": self.images,
            "faces": len(self.scores),
            "AP": round(self.average_precision(), 4),
        }
        if self.milliseconds:
            out["ms"] = round(float(np.median(self.milliseconds)), 2)
        return out | {f"at {rate} false positives an image": self.at(self.threshold(rate)) for rate in RATES}


def read(coco: Path, images: Path) -> list[Picture]:
    data = coco_file.read(coco)
    names = {c["id"]: c["name"] for c in data["categories"]}
    rows: dict[int, list[dict[str, Any]]] = {i["id"]: [] for i in data["images"]}
    for note in data["annotations"]:
        rows[note["image_id"]].append(note)

    def boxes(notes: list[dict[str, Any]]) -> Array:
        xywh = np.array([n["bbox"] for n in notes], np.float32).reshape(-1, 4)
        return np.asarray(np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], np.float32)

    pictures = []
    for entry in data["images"]:
        faces = [n for n in rows[entry["id"]] if not n.get("iscrowd")]
        ignored = [n for n in rows[entry["id"]] if n.get("iscrowd")]
        labels = [names[n["category_id"]] for n in faces]
        pictures.append(Picture(images / entry["file_name"], boxes(faces), labels, boxes(ignored)))
    return pictures


def load(picture: Picture) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3) BGR."""
    try:
        return load_image(picture.file)
    except SourceError:
        raise UsageError(f"{picture.file}: missing or not a picture") from None


def at_long_side(image: npt.NDArray[np.uint8], long_side: int) -> tuple[npt.NDArray[np.uint8], float]:
    """The picture scaled to that long side in pixels, and the scale."""
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=how)
    return np.asarray(small, np.uint8), scale


def matches(detections: Array, boxes: Array) -> npt.NDArray[np.bool_]:
    """bool (n, m): which detections match which boxes."""
    overlap = iou(detections, boxes)
    area_d = np.maximum((detections[:, 2:] - detections[:, :2]).prod(1), 1e-6)[:, None]
    area_b = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(1), 1e-6)[None]
    inter = overlap * (area_d + area_b) / (1 + overlap)
    return np.asarray((overlap >= 0.3) | ((inter / area_d >= 0.75) & (area_d / area_b >= 0.125)))


def inside(detections: Array, boxes: Array) -> Array:
    """float (n, m): share of each detection's area that lies inside each box."""
    low, high = (
        np.maximum(detections[:, None, :2], boxes[None, :, :2]),
        np.minimum(detections[:, None, 2:], boxes[None, :, 2:]),
    )
    area = np.maximum((detections[:, 2:] - detections[:, :2]).prod(1), 1e-6)
    return np.asarray(np.clip(high - low, 0, None).prod(2) / area[:, None])


def evaluate(engine: Engine, pictures: list[Picture], long_side: int) -> Result:
    """Run an engine (opened at `LOWEST_SCORE`) over all pictures, each scaled to `long_side` pixels."""
    result = Result(len(pictures), np.zeros(0, np.float32), [], [], np.zeros(0, np.float32))
    scores: list[float] = []
    false: list[float] = []
    for picture in pictures:
        image = load(picture)
        small, scale = at_long_side(image, long_side)
        reference = REFERENCE / max(image.shape[:2])
        start = cv2.getTickCount()
        rows = engine(small)
        result.milliseconds.append((cv2.getTickCount() - start) / cv2.getTickFrequency() * 1e3)
        rows = rows[np.argsort(-rows[:, 14], kind="stable")]
        boxes = xyxy(rows) / scale
        hit, overlap = matches(boxes, picture.faces), iou(boxes, picture.faces)
        excused = np.asarray((matches(boxes, picture.ignored) | (inside(boxes, picture.ignored) > 0.6)).any(1))
        best = np.full(len(picture.faces), -1.0)
        for i, score in enumerate(rows[:, 14]):
            free = np.flatnonzero(hit[i] & (best < 0))
            if len(free):
                best[free[overlap[i, free].argmax()]] = score
            elif not hit[i].any() and not excused[i] and (boxes[i, 2] - boxes[i, 0]) * reference >= SMALLEST:
                false.append(float(score))
        wide = (picture.faces[:, 2] - picture.faces[:, 0]) * reference
        for j in np.flatnonzero(wide >= SMALLEST):
            scores.append(float(best[j]))
            result.labels.append(picture.labels[j])
            result.sizes.append("L" if wide[j] >= LARGE else "M" if wide[j] >= SMALL else "S")
    result.scores = np.array(scores, np.float32)
    result.false = np.sort(np.array(false, np.float32))[::-1]
    return result


def close_up(engine: Engine, pictures: list[Picture], long_side: int, threshold: float) -> dict[str, Any]:
    """Recall of faces that fill `FILLING` of a square frame of `long_side` pixels: each labelled face of `LARGE` pixels
    and more is cropped with its surroundings; outside the picture the border pixels are repeated."""
    hits: dict[str, list[bool]] = {}
    for picture in pictures:
        image = load(picture)
        for box, label in zip(picture.faces, picture.labels, strict=True):
            if (box[2] - box[0]) * REFERENCE / max(image.shape[:2]) < LARGE:
                continue
            side = float((box[2:] - box[:2]).max()) / FILLING
            zoom, corner = long_side / side, (box[:2] + box[2:] - side) / 2
            view = np.array([[zoom, 0, -corner[0] * zoom], [0, zoom, -corner[1] * zoom]])
            frame = cv2.warpAffine(image, view, (long_side, long_side), borderMode=cv2.BORDER_REPLICATE)
            rows = engine(np.asarray(frame, np.uint8))
            rows = rows[rows[:, 14] > threshold]
            target = np.asarray([(box - np.tile(corner, 2)) * zoom], np.float32)
            found = matches(xyxy(rows), target)
            hits.setdefault(label, []).append(bool(found.any()))
    return {label: {"recall": round(float(np.mean(h)), 4), "n": len(h)} for label, h in sorted(hits.items())}


def plot(results: dict[str, Result], png: Path) -> None:
    """Recall of masked and bare faces over false positives an image, one line a detector and label."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(6.4, 4.2))
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    rates = np.geomspace(0.01, 1, 40)
    for (name, result), colour in zip(results.items(), colours, strict=False):
        for label, style in (("mask", "-"), ("no_mask", "--")):
            recall = [result.recall(label, result.threshold(r))[0] for r in rates]
            axis.plot(rates, recall, style, color=colour, label=f"{name}: {label}")
    axis.set(xscale="log", xlabel="false positives an image", ylabel="recall", ylim=(0.3, 1))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(png, dpi=90)
    plt.close(figure)

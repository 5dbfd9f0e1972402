"""Hard example mining: errors of a trained detector on its training pictures, reviewed by eye and sampled more often.

Bootstrapping as in 'Example-based learning for view-based human face detection' (Sung and Poggio, 1998). Many false
positives are faces that the annotators left out; as negatives they would train the net to miss such faces. So they are
reviewed by a person: contact sheets show each, and the last column of the table is its kind.

python -m export mine-detector --out runs/hard.csv --sheets runs/hard
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

from edge_app.inference.model import models_dir
from edge_app.vision.detector import Engine
from export.common.engines import Array, iou, xyxy
from export.detector.data import DOUBTFUL, IGNORE
from export.detector.evaluate import REFERENCE, SMALLEST, at_long_side, inside, matches
from export.detector.scene import Scene

SIZES = (320, 640)  # long sides that the runtime uses
SURE = 0.5  # a false positive above this score is an error
FOUND = 0.7  # a labelled face below this is missed: about the operating point of detectors
NOTHING, UNMARKED, MISSED = "nothing", "face", "missed"
COLUMNS = ("picture", "x0", "y0", "x1", "y1", "score", "is")
TILE, ACROSS, DOWN = 96, 16, 10


@dataclass(slots=True)
class HardExample:
    """picture: `Scene.name`; box: float32 (4,) xyxy pixels; score: 0..1, the net's; kind: `NOTHING` there, an
    unlabelled face (`UNMARKED`; or undecidable), or a labelled face that was `MISSED`."""

    picture: str
    box: Array
    score: float
    kind: str


def hard_file() -> Path:
    """The reviewed table that training reads."""
    return models_dir() / "face_detector" / "hard.csv"


def mine(engine: Engine, scenes: list[Scene]) -> list[HardExample]:
    """Errors of an engine (opened at a score below `SURE`) at both `SIZES`, worst first.

    False positives are `NOTHING` until reviewed. Those that are already `hard` in their scene are left out.
    """
    examples: list[HardExample] = []
    for scene in track(scenes, description="mining", transient=True):
        image = scene.image()
        known = scene.boxes[scene.kinds > IGNORE]
        reference = REFERENCE / max(image.shape[:2])
        found, scores = [], []
        for size in SIZES:
            small, scale = at_long_side(image, size)
            rows = engine(small)
            found.append(xyxy(rows) / scale)
            scores.append(rows[:, 14])
        boxes, score = np.concatenate(found), np.concatenate(scores)
        explained = (matches(boxes, scene.boxes) | (inside(boxes, scene.boxes) > 0.6)).any(1)
        tiny = (boxes[:, 2] - boxes[:, 0]) * reference < SMALLEST
        false = np.flatnonzero(~explained & ~tiny & (score >= SURE))
        kept: list[int] = []
        for i in false[np.argsort(-score[false])]:
            if not kept or iou(boxes[[i]], boxes[kept]).max() < 0.3:  # NMS over both sizes
                kept.append(int(i))
        here = [HardExample(scene.name, boxes[i], float(score[i]), NOTHING) for i in kept]
        hit = np.where(matches(boxes, known), score[:, None], 0.0)
        best = hit.max(0) if len(boxes) else np.zeros(len(known))
        large = (known[:, 2] - known[:, 0]) * reference >= SMALLEST
        here += [
            HardExample(scene.name, known[j], float(best[j]), MISSED) for j in np.flatnonzero(large & (best < FOUND))
        ]
        examples += [p for p in here if not len(scene.hard) or iou(p.box[None], scene.hard).max() < 0.5]
    return sorted(examples, key=lambda p: p.score if p.kind == MISSED else 1 - p.score)


def write(path: Path, examples: list[HardExample]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for p in examples:
            out.writerow([p.picture, *(int(v) for v in np.round(p.box)), f"{p.score:.2f}", p.kind])


def read(path: Path) -> list[HardExample]:
    """The table's rows; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            HardExample(r["picture"], np.array([r[c] for c in COLUMNS[1:5]], np.float32), float(r["score"]), r["is"])
            for r in csv.DictReader(file)
        ]


def apply_table(scenes: list[Scene], examples: list[HardExample]) -> None:
    """Add reviewed examples to their scenes. Unlabelled faces are ignored, or `DOUBTFUL` in pictures labelled by hand;
    a label on the same box (the back of a head, say) is ignored, too. The others are `hard`."""
    by_name: dict[str, list[HardExample]] = {}
    for example in examples:
        by_name.setdefault(example.picture, []).append(example)
    for scene in scenes:
        for example in by_name.get(scene.name, []):
            if example.kind == UNMARKED:
                labelled = iou(example.box[None], scene.boxes)[0] > 0.8  # the table holds whole pixels
                scene.kinds[labelled] = IGNORE
                scene.boxes = np.vstack([scene.boxes, example.box])
                scene.kinds = np.append(scene.kinds, DOUBTFUL if scene.by_hand and not labelled.any() else IGNORE)
                scene.landmarks = np.concatenate([scene.landmarks, np.full((1, 5, 2), np.nan, np.float32)])
                scene.bare = np.append(scene.bare, False)
            else:
                scene.hard = np.vstack([scene.hard, example.box])


def sheets(folder: Path, scenes: list[Scene], examples: list[HardExample]) -> None:
    """Contact sheets of the false positives in the order of `examples`, numbered by the table's line. They show people:
    never to be committed."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {scene.name: scene for scene in scenes}
    tiles: list[npt.NDArray[np.uint8]] = []
    for line, example in enumerate(examples, 2):  # the header is line 1
        if example.kind == MISSED:
            continue
        middle, side = (example.box[:2] + example.box[2:]) / 2, float((example.box[2:] - example.box[:2]).max())
        zoom = TILE / 2 / side
        view = np.array([[zoom, 0, TILE / 2 - zoom * middle[0]], [0, zoom, TILE / 2 - zoom * middle[1]]])
        tile = cv2.warpAffine(by_name[example.picture].image(), view, (TILE, TILE))
        corners = np.round((example.box.reshape(2, 2) - middle) * zoom + TILE / 2).astype(int)
        cv2.rectangle(tile, corners[0].tolist(), corners[1].tolist(), (0, 255, 0), 1)
        cv2.putText(tile, f"{line}", (2, TILE - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.35, (0, 255, 255), 1)
        tiles.append(np.asarray(tile, np.uint8))
    page = ACROSS * DOWN
    for first in range(0, len(tiles), page):
        part = tiles[first : first + page]
        part += [np.zeros((TILE, TILE, 3), np.uint8)] * (-len(part) % ACROSS)
        rows = [np.hstack(part[i : i + ACROSS]) for i in range(0, len(part), ACROSS)]
        cv2.imwrite(str(folder / f"{first // page:02d}.png"), np.vstack(rows))

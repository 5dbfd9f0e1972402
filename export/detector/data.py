"""Training data of the face detector: sets, labels and landmarks.

Sets: scenes/train.json, auto_bare.json, auto_street.json and photos/train. The labels have no landmarks; where
YuNet detects the same face, its five points are pseudo-labels for the landmark loss and for drawing masks. Photos have
one label a picture and no box: there YuNet's confident boxes are pseudo-labels, less confident ones are ignored. Val
splits are never read here.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from edge_app.errors import UsageError
from export.common import coco as coco_file
from export.common.engines import Array, iou, landmarks, open_engine, xyxy
from export.detector.scene import Pixels, Scene, read_scenes, write_scenes

# Kinds of a box. `FACE` is masked, or unknown; of an `UNCOVERED` face, nose or mouth are known to show. A `DOUBTFUL`
# face was left out by the annotators of its picture: turned away, occluded or blurred. It is trained to score below the
# labelled ones. Positives are the kinds above `IGNORE`.
DOUBTFUL, IGNORE, FACE, UNCOVERED = -1, 0, 1, 2
UNCOVERED_LABELS = ("no_mask", "incorrect_mask")
TEACHER_SURE, TEACHER_DOUBTFUL = 0.75, 0.3
# How far a box extends above the eyes and below the mouth, and its width, in eye-to-mouth distances: medians of the
# bare faces of ilc-2021. The boxes of other sets begin at the brows, in the hair or at the crown of the head.
REACH = np.array([0.81, 0.68, 2.05], np.float32)
FEWEST = 40  # bare faces with landmarks needed to estimate a set's box extents


def name(file: Path) -> str:
    """A picture's machine-independent name in tables; unique among the training sets."""
    return f"{file.parent.name}/{file.name}"


def read_coco(coco: Path, images: Path, teacher: Path, by_hand: bool = False) -> list[Scene]:
    """Scenes of a COCO file. `iscrowd` annotations become IGNORE; landmarks come from the teacher at IoU 0.45.

    Raises:
        UsageError: not a COCO file, or a picture of it that is missing or cannot be decoded.
    """
    data = coco_file.read(coco)
    names = {c["id"]: c["name"] for c in data["categories"]}
    by_image: dict[int, list[dict[str, Any]]] = {i["id"]: [] for i in data["images"]}
    for annotation in data["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    net, scenes = open_engine(teacher, score=TEACHER_DOUBTFUL), []
    for entry in track(data["images"], description=coco.name, transient=True):
        file = images / entry["file_name"]
        jpeg, image = _picture(file)
        if image is None:
            raise UsageError(f"{file}: cannot be decoded; restore this picture of {coco.name}")
        notes = by_image[entry["id"]]
        xywh = np.array([n["bbox"] for n in notes], np.float32).reshape(-1, 4)
        boxes = np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]
        labels = [names[n["category_id"]] for n in notes]
        kinds = np.array([UNCOVERED if label in UNCOVERED_LABELS else FACE for label in labels], np.int64)
        kinds[[bool(n.get("iscrowd")) for n in notes]] = IGNORE
        bare = np.array([label == "no_mask" for label in labels], bool)
        points = np.full((len(notes), 5, 2), np.nan, np.float32)
        rows = net(image)
        if len(rows) and len(boxes):
            overlap = iou(boxes, xyxy(rows))
            best = overlap.argmax(1)
            close = (overlap.max(1) > 0.45) & (kinds != IGNORE)
            points[close] = landmarks(rows)[best[close]]
        source = entry.get("source", coco.stem) if by_hand else "machine"
        scenes.append(Scene(name(file), jpeg, boxes, kinds, points, bare, by_hand=by_hand, source=source))
    return scenes


def _picture(file: Path) -> tuple[Pixels, Pixels | None]:
    """Its bytes, and uint8 (H, W, 3) BGR or None where they cannot be decoded."""
    content = np.fromfile(file, np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    return content, None if image is None else np.asarray(image, np.uint8)


def read_photos(folder: Path, bare: bool, teacher: Path) -> list[Scene]:
    """Photos of one label: the teacher's confident boxes are faces, less confident ones ignored; others are skipped."""
    net, scenes = open_engine(teacher, score=TEACHER_DOUBTFUL), []
    for path in track(sorted(folder.iterdir()), description=f"photos {folder.name}", transient=True):
        jpeg, image = _picture(path)
        if image is None:
            continue
        # The teacher misses faces that fill a photo; padding makes them relatively smaller.
        pad = max(image.shape[:2]) // 4
        wide = np.asarray(cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT), np.uint8)
        rows = net(wide)
        sure = rows[:, 14] > TEACHER_SURE
        if not sure.any():
            continue
        kinds = np.where(sure, UNCOVERED if bare else FACE, IGNORE).astype(np.int64)
        boxes, points = xyxy(rows) - pad, landmarks(rows) - pad
        scenes.append(Scene(name(path), jpeg, boxes, kinds, points, np.full(len(rows), bare), source="photos"))
    return scenes


def load_sets(data: Path, teacher: Path, cache: Path) -> list[tuple[float, list[Scene]]]:
    """All training sets with their sampling weights; read once, then from `cache`."""
    scenes, photos = data / "scenes", data / "photos" / "train"
    images, train = scenes / "images", scenes / "train.json"
    read = read_scenes(cache)
    if read is None:
        read = [
            read_coco(train, images, teacher, by_hand=True),
            *(read_coco(scenes / f"auto_{kind}.json", images, teacher) for kind in ("bare", "street")),
            *(read_photos(photos / label, label == "no_mask", teacher) for label in ("no_mask", "mask")),
        ]
        write_scenes(cache, read)
    labelled, auto_bare, auto_street, bare, masked = read
    scarce = pictures_with(set(UNCOVERED_LABELS), train, images)
    return [
        # Bare faces labelled by hand are the hard ones and as scarce as incorrect masks; those of auto_bare and the
        # photos are pseudo-labels of other detectors. In all, bare and masked faces are about balanced.
        (0.30, [scene for scene in labelled if scene.name in scarce]),
        (0.17, [scene for scene in labelled if scene.name not in scarce]),
        (0.23, auto_bare),
        (0.06, auto_street),
        (0.13, bare),
        (0.11, masked),
    ]


def reach(scene: Scene) -> Array:
    """(n, 3) extents of the boxes of bare faces, as `REACH`; only of upright faces with landmarks."""
    known = scene.bare & (scene.kinds > IGNORE) & np.isfinite(scene.landmarks).all((1, 2))
    boxes, points = scene.boxes[known], scene.landmarks[known]
    eyes, mouth = points[:, :2].mean(1), points[:, 3:].mean(1)
    down = mouth[:, 1] - eyes[:, 1]
    upright = down > 0.15 * (boxes[:, 3] - boxes[:, 1])
    ends = np.c_[eyes[:, 1] - boxes[:, 1], boxes[:, 3] - mouth[:, 1], boxes[:, 2] - boxes[:, 0]]
    return np.asarray(ends[upright] / down[upright, None])


def align_boxes(scenes: list[Scene]) -> None:
    """Align the box conventions of all sets, in place: edges move by the difference of their set's medians to `REACH`.
    With other conventions in every set a net learns to guess the set, and its score says less about localisation.
    """
    for source in {scene.source for scene in scenes}:
        own = [scene for scene in scenes if scene.source == source]
        ends = np.concatenate([reach(scene) for scene in own])
        if len(ends) < FEWEST:
            continue
        above, below, wide = np.median(ends, 0)
        for scene in own:
            face = scene.kinds > IGNORE
            x0, y0, x1, y1 = scene.boxes[face].T
            unit, grow = (y1 - y0) / (above + 1 + below), (x1 - x0) * (REACH[2] / wide - 1) / 2
            edges = x0 - grow, y0 + (above - REACH[0]) * unit, x1 + grow, y1 + (REACH[1] - below) * unit
            scene.boxes[face] = np.stack(edges, 1)


def pictures_with(labels: set[str], coco: Path, images: Path) -> set[str]:
    """Names, as `Scene.name`, of a COCO file's pictures in which a face of one of the labels is marked."""
    data = coco_file.read(coco)
    wanted = {c["id"] for c in data["categories"] if c["name"] in labels}
    found = {n["image_id"] for n in data["annotations"] if n["category_id"] in wanted and not n.get("iscrowd")}
    return {name(images / i["file_name"]) for i in data["images"] if i["id"] in found}

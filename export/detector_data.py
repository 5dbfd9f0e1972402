"""Training pictures for the face detector: sets, landmarks, and the augmentation that makes a batch.

Sets: scenes/train.json, auto_bare.json, auto_street.json and photos/train. The labels hold no landmarks; where a
teacher detector (YuNet) sees the same face, its five points are taken for the landmark loss and for drawing masks.
Photos carry one label a picture and no box: there the teacher's confident boxes are the faces, its doubtful ones are
ignored. Val splits are never read here.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

Array = npt.NDArray[np.float32]
FACE, IGNORE = 1, 0
TEACHER_SURE, TEACHER_DOUBTFUL = 0.75, 0.3


@dataclass(slots=True)
class Scene:
    """A picture and its faces.

    name: folder/file. jpeg: the encoded file. boxes: float32 (n, 4) xyxy pixels. kinds: int (n,) FACE or IGNORE.
    landmarks: float32 (n, 5, 2) pixels, NaN where unknown. bare: bool (n,) face known to wear no mask.
    hard: float32 (k, 4) xyxy pixels, where an earlier net erred.
    """

    name: str
    jpeg: npt.NDArray[np.uint8]
    boxes: Array
    kinds: npt.NDArray[np.int64]
    landmarks: Array
    bare: npt.NDArray[np.bool_]
    hard: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    pixels: npt.NDArray[np.uint8] | None = None

    def image(self) -> npt.NDArray[np.uint8]:
        """uint8 (H, W, 3) BGR, decoded once and kept (about 3 GB for all sets): decoding would take half of the time
        that a training sample costs. Not to be written to."""
        if self.pixels is None:
            self.pixels = np.asarray(cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR), np.uint8)
        return self.pixels


def name(file: Path) -> str:
    """A picture's name in tables that hold on every machine; unique among the training sets."""
    return f"{file.parent.name}/{file.name}"


def _teacher(model: Path) -> cv2.FaceDetectorYN:
    return cv2.FaceDetectorYN.create(str(model), "", (320, 320), TEACHER_DOUBTFUL, 0.3, 5000)


def _see(teacher: cv2.FaceDetectorYN, image: npt.NDArray[np.uint8]) -> tuple[Array, Array, Array]:
    """Boxes xyxy (n, 4), landmarks (n, 5, 2), scores (n,) of the teacher."""
    teacher.setInputSize((image.shape[1], image.shape[0]))
    found = teacher.detect(image)[1]
    rows: Array = np.zeros((0, 15), np.float32) if found is None else np.asarray(found, np.float32)
    boxes = np.c_[rows[:, :2], rows[:, :2] + rows[:, 2:4]]
    return boxes.astype(np.float32), rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14]


def iou(a: Array, b: Array) -> Array:
    """IoU of every pair: (n, 4) and (m, 4) xyxy -> (n, m)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    union = area_a[:, None] + area_b[None] - inter
    return np.asarray(inter / np.maximum(union, 1e-6), np.float32)


def read_coco(coco: Path, images: Path, teacher: Path) -> list[Scene]:
    """Scenes of a COCO file. `iscrowd` annotations become IGNORE; landmarks come from the teacher at IoU 0.45."""
    data = json.loads(coco.read_text(encoding="utf-8"))
    names = {c["id"]: c["name"] for c in data["categories"]}
    by_image: dict[int, list[dict[str, Any]]] = {i["id"]: [] for i in data["images"]}
    for annotation in data["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    net, scenes = _teacher(teacher), []
    for entry in track(data["images"], description=coco.name, transient=True):
        file = images / entry["file_name"]
        jpeg = np.fromfile(file, np.uint8)
        image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
        notes = by_image[entry["id"]]
        xywh = np.array([n["bbox"] for n in notes], np.float32).reshape(-1, 4)
        boxes = np.c_[xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]
        kinds = np.array([IGNORE if n.get("iscrowd") else FACE for n in notes], np.int64)
        bare = np.array([names[n["category_id"]] == "no_mask" for n in notes], bool)
        landmarks = np.full((len(notes), 5, 2), np.nan, np.float32)
        seen, points, _ = _see(net, image)
        if len(seen) and len(boxes):
            overlap = iou(boxes, seen)
            best = overlap.argmax(1)
            close = (overlap.max(1) > 0.45) & (kinds == FACE)
            landmarks[close] = points[best[close]]
        scenes.append(Scene(name(file), jpeg, boxes, kinds, landmarks, bare))
    return scenes


def read_photos(folder: Path, bare: bool, teacher: Path) -> list[Scene]:
    """Photos of one label: the teacher's sure boxes are faces, its doubtful ones ignored; none sure: left out."""
    net, scenes = _teacher(teacher), []
    for path in track(sorted(folder.iterdir()), description=f"photos {folder.name}", transient=True):
        jpeg = np.fromfile(path, np.uint8)
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        if image is None:
            continue
        # A face that fills a photo is beyond the teacher; a wide border brings it back into view.
        pad = max(image.shape[:2]) // 4
        wide = np.asarray(cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT), np.uint8)
        boxes, points, scores = _see(net, wide)
        if not (scores > TEACHER_SURE).any():
            continue
        boxes, points = boxes - pad, points - pad
        kinds = np.where(scores > TEACHER_SURE, FACE, IGNORE).astype(np.int64)
        scenes.append(Scene(name(path), jpeg, boxes, kinds, points, np.full(len(boxes), bare)))
    return scenes


def load_sets(data: Path, teacher: Path, cache: Path) -> list[tuple[float, list[Scene]]]:
    """All training sets with their sampling weights; read once, then from `cache` (a NumPy archive)."""
    if cache.is_file():
        with np.load(cache, allow_pickle=True) as stored:
            return list(stored["sets"])
    scenes, photos = data / "scenes", data / "photos" / "train"
    sets = [
        # Masked faces come mostly from the hand-labelled scenes, bare ones from auto_bare and the photos: the weights
        # give both about as many faces an epoch, since bare faces are the scarce class in scenes.
        (0.42, read_coco(scenes / "train.json", scenes / "images", teacher)),
        (0.28, read_coco(scenes / "auto_bare.json", scenes / "images", teacher)),
        (0.06, read_coco(scenes / "auto_street.json", scenes / "images", teacher)),
        (0.13, read_photos(photos / "no_mask", True, teacher)),
        (0.11, read_photos(photos / "mask", False, teacher)),
    ]
    cache.parent.mkdir(parents=True, exist_ok=True)
    holder = np.empty(len(sets), object)
    holder[:] = sets
    np.savez(cache, sets=holder)
    return sets

"""Training faces of the mask classifier: every labelled face with its context, cached for random access.

A face is stored as a *region*: the part of its picture that lies within CONTEXT crop sides around the box, shrunk so
that a crop of it is about STORED_SIDE pixels wide. A region keeps the picture's true edges, so that moving the box
about inside it and cropping with `edge_app.vision.crops` gives what the runtime would have given. Val splits are never
read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.progress import track

from edge_app.capture.images import load_image
from edge_app.errors import SourceError
from edge_app.inference.model import models_dir
from edge_app.vision.crops import CROP_MARGIN
from export.common import coco as coco_file
from export.common.engines import Array, iou, landmarks, open_engine, xyxy

Image = npt.NDArray[np.uint8]

MASK, NO_MASK, INCORRECT = 0, 1, 2  # INCORRECT (nose or chin out) is trained as no_mask, but sampled on its own
KINDS = {"mask": MASK, "no_mask": NO_MASK, "incorrect_mask": INCORRECT}
CONTEXT = 1.9  # context for a shifted, scaled or rotated crop
STORED_SIDE = 124  # a bit over the network's 112 pixels, for crops smaller than the labelled one
MIN_FACE = 14  # pixels; below that annotators cannot label reliably
RUNTIME_SIZE = 320  # long side of the detector's input on most devices
SURE = 0.6  # lowest score of the face that a photo is labelled for
BYSTANDER_SURE = 0.8  # lowest score of further faces in a photo of bare faces


@dataclass(slots=True)
class Face:
    """One face. region: uint8 (h, w, 3) BGR. box: labelled, float32 (4,) xyxy in region pixels. seen: the same face's
    box by a detector, NaN where it saw none. points: float32 (5, 2) eyes, nose, mouth corners, NaN where unknown.
    kind: MASK, NO_MASK or INCORRECT. source: the data set.
    """

    region: Image
    box: Array
    seen: Array
    points: Array
    kind: int
    source: str


def read_image(path: Path) -> Image | None:
    """uint8 (H, W, 3) BGR, or None where there is no picture."""
    try:
        return load_image(path)
    except SourceError:
        return None


class Finder:
    """The released face detector: boxes and landmarks of photos that have only an image-level label, and the boxes that
    the runtime will crop."""

    def __init__(self) -> None:
        self.engine = open_engine(models_dir() / "face_detector", "onnxruntime", score=0.3)

    def __call__(self, image: Image, pad: int = 0, size: int | None = None) -> tuple[Array, Array, Array]:
        """Boxes (n, 4) xyxy, points (n, 5, 2), scores (n,).

        Args:
            pad: black border in pixels; a face that fills the picture is detected better with one.
            size: long side to shrink the picture to, pixels; None: as it is.
        """
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
        scale = min(1.0, size / max(padded.shape[:2])) if size else 1.0
        if scale < 1:
            padded = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        rows = self.engine(np.asarray(padded, np.uint8))
        scale = np.float32(scale)
        return xyxy(rows) / scale - pad, landmarks(rows) / scale - pad, rows[:, 14]


def cut_region(image: Image, box: Array, seen: Array, points: Array, kind: int, source: str) -> Face:
    """Crop the box with its context, downscaled where it is larger than needed."""
    side = float((box[2:] - box[:2]).max()) * (1 + CROP_MARGIN)
    centre, half = (box[:2] + box[2:]) / 2, side * CONTEXT / 2
    low = np.maximum(np.floor(centre - half), 0).astype(int)
    high = np.minimum(np.ceil(centre + half), image.shape[1::-1]).astype(int)
    region = image[low[1] : high[1], low[0] : high[0]]
    shrink = min(1.0, STORED_SIDE / side)
    if shrink < 1:
        size = np.maximum(np.round((high - low) * shrink), 1).astype(int)
        region = np.asarray(cv2.resize(region, size.tolist(), interpolation=cv2.INTER_AREA), np.uint8)
    scale = np.array(region.shape[1::-1], np.float32) / (high - low)

    def move(xy: Array) -> Array:
        return np.asarray(((xy.reshape(-1, 2) - low) * scale).reshape(xy.shape), np.float32)

    return Face(region, move(box), move(seen), move(points), kind, source)


def coco_faces(coco: Path, images: Path, finder: Finder) -> Iterator[Face]:
    """Faces of a COCO file with categories mask / no_mask / incorrect_mask.

    Crowds, tiny faces and annotations that wait for review are left out.
    """
    data = coco_file.read(coco)
    names = {c["id"]: c["name"] for c in data["categories"]}
    notes: dict[int, list[dict[str, Any]]] = {i["id"]: [] for i in data["images"]}
    for note in data["annotations"]:
        if not note.get("iscrowd") and not note.get("review") and names[note["category_id"]] in KINDS:
            notes[note["image_id"]].append(note)
    for entry in track(data["images"], description=coco.name, transient=True):
        image = read_image(images / entry["file_name"])
        if image is None:
            continue
        boxes, points, _ = finder(image)
        small = finder(image, size=RUNTIME_SIZE)[0]
        for note in notes[entry["id"]]:
            x, y, w, h = note["bbox"]
            if max(w, h) < MIN_FACE:
                continue
            box, seen, marks = np.array([x, y, x + w, y + h], np.float32), *_nothing_seen()
            if len(boxes) and (overlap := iou(box[None], boxes)).max() > 0.4:
                seen, marks = boxes[overlap.argmax()], points[overlap.argmax()]
            if len(small) and (overlap := iou(box[None], small)).max() > 0.4:
                seen = small[overlap.argmax()]
            kind = KINDS[names[note["category_id"]]]
            yield cut_region(image, box, seen, marks, kind, entry.get("source", coco.stem))


def photo_faces(folder: Path, kind: int, finder: Finder) -> Iterator[Face]:
    """Faces of photos with an image-level label: the largest face; of bare people, every confident one.

    Where no face is detected, a small photo of about a face's aspect ratio is a tight crop and used as it is.
    """
    for path in track(sorted(folder.iterdir()), description=f"photos {folder.name}", transient=True):
        image = read_image(path)
        if image is None:
            continue
        height, width = image.shape[:2]
        source = path.name.split("_")[0]
        boxes, points, scores = finder(image, pad=max(height, width) // 4)
        sizes = (boxes[:, 2:] - boxes[:, :2]).max(1)
        sure = (scores > SURE) & (sizes >= MIN_FACE)
        if sure.any():
            largest = int(np.where(sure, sizes, 0).argmax())
            chosen = {largest} | ({*np.flatnonzero(sure & (scores > BYSTANDER_SURE))} if kind == NO_MASK else set())
            for i in sorted(int(c) for c in chosen):
                yield cut_region(image, boxes[i], boxes[i], points[i], kind, source)
        elif max(height, width) <= 130 and 0.6 < width / height < 1.6:
            inset = np.array([width, height, -width, -height], np.float32) * 0.08
            box = np.array([0, 0, width, height], np.float32) + inset
            yield cut_region(image, box, *_nothing_seen(), kind, source)


def _nothing_seen() -> tuple[Array, Array]:
    return np.full(4, np.nan, np.float32), np.full((5, 2), np.nan, np.float32)


class Faces:
    """Many faces in two files: `<path>.npy`, all pixels in one row, mapped into memory; `<path>.npz`, the rest."""

    def __init__(self, path: Path) -> None:
        self.pixels = np.load(path.with_suffix(".npy"), mmap_mode="r")
        with np.load(path.with_suffix(".npz")) as rest:
            self.offsets, self.shapes, self.boxes = rest["offsets"], rest["shapes"], rest["boxes"]
            self.points, self.kinds, self.sources = rest["points"], rest["kinds"], rest["sources"]

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, i: int) -> Face:
        height, width = self.shapes[i]
        flat = self.pixels[self.offsets[i] : self.offsets[i] + height * width * 3]
        region = np.array(flat).reshape(height, width, 3)
        box, seen = self.boxes[i]
        return Face(region, box, seen, self.points[i], int(self.kinds[i]), str(self.sources[i]))


def store_faces(faces: Iterator[Face], path: Path) -> Faces:
    """Write faces so that `Faces(path)` reads them."""
    everything = list(faces)
    sizes = np.array([face.region.size for face in everything], np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path.with_suffix(".npy"), np.concatenate([face.region.ravel() for face in everything]))
    columns: dict[str, Any] = {
        "offsets": np.cumsum(sizes) - sizes,
        "shapes": np.array([face.region.shape[:2] for face in everything], np.int64),
        "boxes": np.array([[face.box, face.seen] for face in everything], np.float32),
        "points": np.array([face.points for face in everything], np.float32),
        "kinds": np.array([face.kind for face in everything], np.int64),
        "sources": np.array([face.source for face in everything]),
    }
    # Last, and atomically: its existence marks the cache as complete.
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **columns)
    partial.replace(path.with_suffix(".npz"))
    return Faces(path)


def load_faces(data: Path, cache: Path) -> Faces:
    """All training faces; read from the pictures once, then from `cache`."""
    if cache.with_suffix(".npz").is_file():
        return Faces(cache)
    finder = Finder()
    scenes, photos = data / "scenes", data / "photos" / "train"

    def everything() -> Iterator[Face]:
        yield from coco_faces(scenes / "train.json", scenes / "images", finder)
        yield from coco_faces(scenes / "auto_bare.json", scenes / "images", finder)
        yield from photo_faces(photos / "mask", MASK, finder)
        yield from photo_faces(photos / "no_mask", NO_MASK, finder)

    return store_faces(everything(), cache)

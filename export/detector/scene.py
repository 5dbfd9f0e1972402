"""A training picture of the face detector, and many of them in one file.

The file is a NumPy archive of plain arrays, without pickled objects: nothing in it can run as code when it is read.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from export.common.engines import Array

Pixels = npt.NDArray[np.uint8]
Column = npt.NDArray[Any]
FORMAT = 1  # to be raised with what a scene holds: a file of another number is not read


@dataclass(slots=True)
class Scene:
    """A picture and its faces.

    name: folder/file. jpeg: the encoded file. boxes: float32 (n, 4) xyxy pixels. kinds: int (n,), see `detector.data`.
    landmarks: float32 (n, 5, 2) pixels, NaN where unknown. bare: bool (n,) known to wear no mask. hard: float32 (k, 4)
    xyxy pixels, errors of an earlier net. by_hand: annotators labelled every discernible face. source: the data set of
    its boxes.
    """

    name: str
    jpeg: Pixels
    boxes: Array
    kinds: npt.NDArray[np.int64]
    landmarks: Array
    bare: npt.NDArray[np.bool_]
    hard: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    by_hand: bool = False
    source: str = ""
    pixels: Pixels | None = None

    def image(self) -> Pixels:
        """uint8 (H, W, 3) BGR, decoded once and cached (about 3 GB for all sets): decoding would be half the cost of a
        training sample. Read-only."""
        if self.pixels is None:
            self.pixels = np.asarray(cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR), np.uint8)
        return self.pixels


def write_scenes(path: Path, sets: Sequence[Sequence[Scene]]) -> None:
    """Write sets of scenes atomically, without their decoded pixels."""
    scenes = [scene for part in sets for scene in part]
    columns: dict[str, Any] = {
        "format": np.array(FORMAT),
        "sets": np.array([len(part) for part in sets], np.int64),
        "names": np.array([scene.name for scene in scenes], str),
        "sources": np.array([scene.source for scene in scenes], str),
        "by_hand": np.array([scene.by_hand for scene in scenes], bool),
        "jpeg_sizes": np.array([len(scene.jpeg) for scene in scenes], np.int64),
        "jpegs": _joined([scene.jpeg for scene in scenes], (0,), np.uint8),
        "face_counts": np.array([len(scene.boxes) for scene in scenes], np.int64),
        "boxes": _joined([scene.boxes for scene in scenes], (0, 4), np.float32),
        "kinds": _joined([scene.kinds for scene in scenes], (0,), np.int64),
        "landmarks": _joined([scene.landmarks for scene in scenes], (0, 5, 2), np.float32),
        "bare": _joined([scene.bare for scene in scenes], (0,), bool),
        "hard_counts": np.array([len(scene.hard) for scene in scenes], np.int64),
        "hard": _joined([scene.hard for scene in scenes], (0, 4), np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, **columns)
    partial.replace(path)


def read_scenes(path: Path) -> list[list[Scene]] | None:
    """The sets that `write_scenes` wrote; None where there is no such file, or one of another format or damaged."""
    try:
        with path.open("rb") as file, np.load(file) as stored:
            if "format" not in stored or int(stored["format"]) != FORMAT:
                return None
            columns = {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):  # ValueError: pickled objects, which are never read
        return None
    faces = [_parts(columns[name], columns["face_counts"]) for name in ("boxes", "kinds", "landmarks", "bare")]
    rows = zip(
        columns["names"],
        _parts(columns["jpegs"], columns["jpeg_sizes"]),
        *faces,
        _parts(columns["hard"], columns["hard_counts"]),
        columns["by_hand"],
        columns["sources"],
        strict=True,
    )
    scenes = [
        Scene(str(name), jpeg, boxes, kinds, landmarks, bare, hard=hard, by_hand=bool(by_hand), source=str(source))
        for name, jpeg, boxes, kinds, landmarks, bare, hard, by_hand, source in rows
    ]
    ends = np.cumsum(columns["sets"])
    return [scenes[end - count : end] for end, count in zip(ends, columns["sets"], strict=True)]


def _parts(column: Column, counts: Column) -> list[Column]:
    """Undo `_joined`."""
    return [column[end - count : end] for end, count in zip(np.cumsum(counts), counts, strict=True)]


def _joined(parts: list[Column], empty: tuple[int, ...], kind: type) -> Column:
    """All in one array; `empty` is the shape of none."""
    return np.concatenate([np.zeros(empty, kind), *parts], dtype=kind)

"""Training faces of `label` reviewed by a human, concatenated with those of the shared data."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_app.errors import UsageError
from export.classifier.data import Face, Faces, Finder, coco_faces, store_faces
from export.common import coco as coco_file


class JoinedFaces(Faces):
    """The concatenation of several sets of faces."""

    def __init__(self, parts: Sequence[Faces]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.kinds = np.concatenate([part.kinds for part in parts])
        self.sources = np.concatenate([part.sources for part in parts])

    def __getitem__(self, i: int) -> Face:
        part = int(np.searchsorted(self.ends, i, side="right"))
        return self.parts[part][i - int(self.ends[part]) + len(self.parts[part])]


def added_faces(coco: Path, cache: Path) -> Faces:
    """The reviewed faces of one COCO file; stored in the folder `cache` and read from there while it is unchanged.

    Args:
        coco: pictures in images/ beside it.

    Raises:
        UsageError: not a COCO file, a picture that is missing, or no face that can be trained on.
    """
    content, images = coco_file.read(coco), coco.parent / "images"
    stored = cache / f"added-{hashlib.sha256(coco.read_bytes()).hexdigest()[:16]}"
    if stored.with_suffix(".npz").is_file():
        return Faces(stored)
    for entry in content["images"]:
        if not (images / entry["file_name"]).is_file():
            raise UsageError(f"{coco}: no picture {images / entry['file_name']}; keep images/ beside the COCO file")
    faces = list(coco_faces(coco, images, Finder()))
    if not faces:
        waiting = sum(bool(note.get("review")) for note in content["annotations"])
        raise UsageError(
            f"{coco}: no face to train on: expected mask, no_mask or incorrect_mask, 14 px and more; {waiting} of "
            f'{len(content["annotations"])} annotations wait for review: set their category and drop "review"'
        )
    return store_faces(iter(faces), stored)

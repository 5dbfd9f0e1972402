"""Pseudo-label pictures and clips with the current models for review by a human, the most uncertain faces first.

Active learning by uncertainty sampling ('A Sequential Algorithm for Training Text Classifiers', cmp-lg/9407020). The
output is a COCO file with its pictures in images/ beside it. An annotation inside the unsure band has `"review": true`:
a human sets its category and removes the flag. Until then it is used neither for training nor for evaluation.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_app.capture.folders import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from edge_app.capture.images import load_image
from edge_app.capture.open import open_source
from edge_app.capture.source import SourceSpec
from edge_app.config.settings import Settings
from edge_app.errors import SinkError, SourceError, UsageError
from edge_app.planes import as_picture
from edge_app.records import Pixels
from edge_app.vision.classifier import MaskClassifier
from edge_app.vision.detector import FaceDetector, open_detector

CATEGORIES = [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}, {"id": 3, "name": "incorrect_mask"}]
JPEG_QUALITY = 95


@dataclass(slots=True)
class Labelled:
    """One picture or frame. entry: its COCO image. notes: its annotations, most doubtful first, without ids.

    doubt: smallest distance of a mask probability from the centre of the unsure band; infinite without a face.
    """

    entry: dict[str, Any]
    notes: list[dict[str, Any]] = field(default_factory=list)
    doubt: float = float("inf")


class Labeller:
    """Detector and classifier, and the thresholds between which a face is left to a human.

    Raises:
        ModelError: a model that cannot be run. UsageError: thresholds that do not fit together.
    """

    def __init__(self, settings: Settings) -> None:
        self.detector: FaceDetector = open_detector(settings.detector)
        self.classifier = MaskClassifier(settings.classifier)
        self.high, self.low = self.classifier.bounds(settings.verdict)

    def __call__(self, image: Pixels, entry: dict[str, Any]) -> Labelled:
        """uint8 (H, W, 3) BGR and its COCO image so far -> its faces."""
        found = self.detector.detect(image)
        self.classifier.classify(image, found)
        probability = np.asarray(found.data["mask_probability"], float)
        centre = (self.high + self.low) / 2
        doubt = np.abs(probability - centre)
        scores = np.ones(len(found)) if found.confidence is None else found.confidence
        entry |= {"width": image.shape[1], "height": image.shape[0]}
        labelled = Labelled(entry, doubt=float(doubt.min(initial=np.inf)))
        for i in np.argsort(doubt, kind="stable"):
            x0, y0, x1, y1 = (round(float(v), 1) for v in found.xyxy[i])
            width, height = round(x1 - x0, 1), round(y1 - y0, 1)
            note: dict[str, Any] = {
                "category_id": 1 if probability[i] >= centre else 2,
                "bbox": [x0, y0, width, height],
                "area": round(width * height, 1),
                "iscrowd": 0,
                "score": round(float(scores[i]), 4),
                "mask_probability": round(float(probability[i]), 4),
            }
            if self.low < probability[i] < self.high:
                note["review"] = True
            labelled.notes.append(note)
        return labelled


def label(folder: Path, out: Path, settings: Settings, every: int = 25) -> dict[str, Any]:
    """Write the COCO file `out` for the pictures and clips directly in `folder`.

    Pictures are copied, and every `every`-th frame of a clip is saved as JPEG, into images/ beside `out`. A damaged
    picture or clip is logged in the result and skipped.

    Returns:
        Counts: images, faces, review (faces to be reviewed), passed over (the errors of skipped files).

    Raises:
        UsageError: `folder` is none or holds neither picture nor clip, `out` exists (it may have been
            reviewed), or another picture has a name that is needed.
        SourceError: nothing in it can be decoded. SinkError: `out` cannot be written. ModelError: see `Labeller`.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}; expected a folder of pictures and clips") from None
    wanted = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    files = [path for path in files if path.suffix.lower() in wanted]
    if not files:
        raise UsageError(f"{folder}: no pictures or clips in this folder; looked for {', '.join(wanted)}")
    if out.exists():
        raise UsageError(f"{out}: already there, and may have been reviewed; give another --out, or move it away")
    labeller, images = Labeller(settings), out.parent / "images"
    done: list[Labelled] = []
    passed_over: list[str] = []
    try:
        images.mkdir(parents=True, exist_ok=True)
        for path in files:
            try:
                for image, entry in _pictures(path, images, settings, every):
                    done.append(labeller(image, {**entry, "source": folder.resolve().name}))
            except SourceError as error:
                passed_over.append(str(error))
        if not done:
            raise SourceError(f"{folder}: none of its {len(files)} pictures and clips can be decoded: {passed_over[0]}")
        coco = _coco(done)
        partial = out.with_name(f"{out.name}.partial")
        partial.write_text(json.dumps(coco, indent=1) + "\n", encoding="utf-8")
        partial.replace(out)
    except OSError as error:
        raise SinkError(f"{error.filename or out}: cannot be written ({error.strerror})") from None
    waiting = sum("review" in note for note in coco["annotations"])
    counts = {"images": len(done), "faces": len(coco["annotations"]), "review": waiting}
    return {"labels": str(out), **counts, "passed over": passed_over}


def _pictures(path: Path, images: Path, settings: Settings, every: int) -> Iterator[tuple[Pixels, dict[str, Any]]]:
    """Pixels and COCO image of a picture, or of a clip's frames, each of which now lies in `images`."""
    if path.suffix.lower() in IMAGE_SUFFIXES:
        image = load_image(path)
        _keep(images / path.name, path.read_bytes())
        yield image, {"file_name": path.name}
        return
    with open_source(SourceSpec("file", str(path), str(path), live=False), settings.source) as clip:
        index = 0
        while (frame := clip.read()) is not None:
            if index % every == 0:
                name = f"{path.name}_{index:06d}.jpg"  # the whole name: a.mp4 and a.mkv may lie side by side
                image = as_picture(frame[0]).bgr()
                encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
                _keep(images / name, encoded.tobytes())
                yield image, {"file_name": name, "clip": path.name, "time_s": round(frame[1], 3)}
            index += 1


def _keep(target: Path, content: bytes) -> None:
    """Write a picture; another one of that name may belong to an earlier COCO file in the same folder."""
    if target.exists() and target.read_bytes() != content:
        raise UsageError(f"{target}: another picture of this name is there already; give --out in a new folder")
    target.write_bytes(content)


def _coco(done: list[Labelled]) -> dict[str, Any]:
    """The most doubtful image first; ids count in that order."""
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    for image_id, labelled in enumerate(sorted(done, key=lambda one: one.doubt), start=1):
        images.append({"id": image_id, **labelled.entry})
        for note in labelled.notes:
            notes.append({"id": len(notes) + 1, "image_id": image_id, **note})
    return {"images": images, "annotations": notes, "categories": CATEGORIES}

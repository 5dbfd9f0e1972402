"""The one path from an image to classified faces: detector, classifier and quality, opened once.

A run calls the two steps `detect` and `classify` separately: they run concurrently, and most faces of a video are not
due for classification. `analyze` does both for a single image. `face_label` gives the label in either case.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import supervision as sv

from edge_app.capture.images import load_image
from edge_app.config.layers import resolve
from edge_app.config.settings import Settings
from edge_app.errors import SourceError, UsageError, first_line
from edge_app.planes import Picture, Pixels, as_picture
from edge_app.records import Label
from edge_app.vision.classifier import MaskClassifier, face_label
from edge_app.vision.detector import open_detector
from edge_app.vision.fair_lock import FairLock
from edge_app.vision.quality import FaceQuality


@dataclass(frozen=True, slots=True)
class Face:
    """One classified face of a single image.

    box: x0, y0, x1, y1 in pixels of the image. score: the detector's, 0..1. label: mask, no_mask or unsure.
    mask_probability: 0..1.
    """

    box: tuple[float, float, float, float]
    score: float
    label: Label
    mask_probability: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: box to a tenth of a pixel, the rest to four digits."""
        return {
            "box": [round(v, 1) for v in self.box],
            "score": round(self.score, 4),
            "label": self.label,
            "mask_probability": round(self.mask_probability, 4),
        }


class Analyzer:
    """Detects and classifies the faces of images. Thread-safe: any number of threads may share one.

    Example:
        >>> from edge_app import Analyzer
        >>> from edge_app.capture.demo import portrait
        >>> analyzer = Analyzer()
        >>> [face.label for face in analyzer(portrait(masked=True))]
        ['mask']
        >>> (face,) = analyzer(portrait(masked=False))
        >>> face.label, face.mask_probability < 0.1
        ('no_mask', True)

    mask_threshold, no_mask_threshold: the unsure band on the mask probability, of the settings, else of the model.

    Args:
        settings: the detector, classifier, quality and verdict sections are used. None: what `edge-app` uses in this
            folder: defaults, board profile, ./config.yaml and environment. `Settings()` has the defaults alone.

    Raises:
        UsageError: settings that are none, or thresholds that do not fit each other.
        ModelError: a model that cannot be used.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or resolve().settings
        self._detector, self._lock = open_detector(settings.detector), FairLock()
        self._classifier = MaskClassifier(settings.classifier)  # onnxruntime's sessions are safe between threads
        self._quality = FaceQuality(settings.quality)
        self.mask_threshold, self.no_mask_threshold = self._classifier.bounds(settings.verdict)

    def __call__(self, image: Pixels | str | Path) -> list[Face]:
        """The classified faces of one image, best detector score first.

        Args:
            image: uint8 (H, W, 3) BGR, or the path of a picture.

        Raises:
            UsageError: an array of another shape or dtype.
            SourceError: a path that is no picture which can be read, or an image too large for this machine.
            ModelError: a network that cannot be run on it.
        """
        if isinstance(image, str | Path):
            path = Path(image)
            with named_if_too_large(str(path)):
                return faces(self.analyze(load_image(path)))
        kind, shape = getattr(image, "dtype", type(image).__name__), tuple[int, ...](getattr(image, "shape", ()))
        if kind != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise UsageError(f"expected a uint8 (H, W, 3) BGR image or a path, found {kind} {shape}")
        with named_if_too_large("the image"):
            return faces(self.analyze(image))

    def analyze(self, image: Pixels | Picture) -> sv.Detections:
        """Detect and classify: the columns of both, and data["label"], text (n,), by `face_label`.

        Args:
            image: uint8 (H, W, 3) BGR, or a picture.

        Raises:
            ModelError: a network that cannot be run on it.
        """
        detections = self.detect(image)
        self.classify(image, detections)
        rows = zip(detections.data["mask_probability"], detections.data["quality"], strict=True)
        labels = [face_label(float(p), self.mask_threshold, self.no_mask_threshold, float(q)) for p, q in rows]
        detections.data["label"] = np.array(labels, "U7")
        return detections

    def detect(self, image: Pixels | Picture) -> sv.Detections:
        """As `FaceDetector.detect`, one call at a time: `cv2.FaceDetectorYN` is stateful (input size, layers)."""
        with self._lock:
            return self._detector.detect(image)

    def classify(self, image: Pixels | Picture, detections: sv.Detections) -> None:
        """Classify every row in place, from its `xyxy` alone; a run passes only the rows that are due.

        Writes class_id int (n,): 0 mask, 1 no_mask; data["mask_probability"] and data["quality"], float32 (n,) in 0..1.

        Args:
            image: uint8 (H, W, 3) BGR, or a picture; the boxes are in its pixels.
            detections: rows to be classified.

        Raises:
            ModelError: a network that cannot be run, or whose logits are not finite.
        """
        picture = as_picture(image)
        crops = self._classifier.classify(picture, detections)
        self._quality.rate(crops, detections, (picture.width, picture.height))


def faces(detections: sv.Detections) -> list[Face]:
    """The detections of `Analyzer.analyze` as a list of faces."""
    scores = detections.confidence if detections.confidence is not None else np.ones(len(detections))
    columns = (detections.xyxy, scores, detections.data["label"], detections.data["mask_probability"])
    return [
        Face((float(x0), float(y0), float(x1), float(y1)), float(score), cast(Label, str(label)), float(p))
        for (x0, y0, x1, y1), score, label, p in zip(*columns, strict=True)
    ]


@contextmanager
def named_if_too_large(name: str) -> Iterator[None]:
    """Turn the errors of a too large image (out of memory, OpenCV's limits) into a `SourceError` with its name."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        raise SourceError(f"{name}: too large to be judged here ({first_line(error)})") from None

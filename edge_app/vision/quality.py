"""Face quality assessment: size, sharpness, brightness and truncation become one vote weight in 0..1.

Each measure gives 1 from its setting on and falls linearly to 0 at half of it; the product is the face's quality. It
is the weight of the face's vote; below `quality.lowest` the face has no vote and is unsure.
"""

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.config.settings import QualitySettings
from edge_app.vision.crops import CROP_MARGIN

_BORDER = CROP_MARGIN / (2 + 2 * CROP_MARGIN)  # share of the crop on each side that lies outside the face box


def grey_face(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What lies inside the face box of a uint8 (S, S, 3) BGR crop: float32 (s, s) grey levels, 0..255."""
    border = round(len(crop) * _BORDER)
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[border : len(crop) - border, border : len(crop) - border]
    return np.asarray(grey, np.float32)


def sharpness(face: npt.NDArray[np.float32]) -> float:
    """Standard deviation of the Laplacian of a `grey_face`, grey levels.

    The Laplacian focus measure of 'Diatom autofocusing in brightfield microscopy' (ICPR 2000), which takes the
    variance. Gaussian smoothing first: noise and quantization are no detail.
    """
    return float(cv2.Laplacian(cv2.GaussianBlur(face, (0, 0), 1), cv2.CV_32F).std())


def brightness(face: npt.NDArray[np.float32]) -> float:
    """Mean of a `grey_face`, 0..255."""
    return float(face.mean())


class FaceQuality:
    """Rates faces by the `quality` settings."""

    def __init__(self, settings: QualitySettings) -> None:
        self._settings = settings

    def rate(self, crops: npt.NDArray[np.uint8], detections: sv.Detections, frame_size: tuple[int, int]) -> None:
        """Write `data["quality"]`, float32 (n,) in 0..1; 0 for a face that has no vote.

        Args:
            crops: uint8 (n, S, S, 3) BGR, one a detection, as `crops.crop_faces` cuts them.
            frame_size: width, height in pixels.
        """
        boxes = np.asarray(detections.xyxy, np.float32)
        ratings = [self._rate(crop, box, frame_size) for crop, box in zip(crops, boxes, strict=True)]
        detections.data["quality"] = np.array(ratings, np.float32)

    def _rate(self, crop: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], frame_size: tuple[int, int]) -> float:
        limits = self._settings
        if not limits.enabled:
            return 1.0
        face = grey_face(crop)
        quality = (
            _ramp(float(box[2] - box[0]), limits.width_px)
            * _ramp(sharpness(face), limits.sharpness)
            * _ramp(brightness(face), limits.brightness)
        )
        if min(box[0], box[1], frame_size[0] - box[2], frame_size[1] - box[3]) < 1:
            quality *= limits.at_edge
        return quality if quality >= limits.lowest else 0.0


def _ramp(value: float, full: float) -> float:
    return 1.0 if value >= full else max(0.0, 2 * value / full - 1)

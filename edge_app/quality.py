"""How far a face can be trusted: size, sharpness, light and the frame's edge become one vote weight in 0..1.

Each measure gives 1 from its setting on and falls linearly to 0 at half of it; the product is the face's quality. It
weighs the face's vote, and below `quality.lowest` the face has no vote and is unsure.
"""

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.settings import QualitySettings

_BORDER = 13 / 112  # share of the crop outside the face box on each side: the crop's margin


def sharpness(crop: npt.NDArray[np.uint8]) -> float:
    """Standard deviation of the Laplacian, grey levels, inside the face box of a uint8 (S, S, 3) BGR crop.

    After 'Diatom autofocusing in brightfield microscopy' (ICPR 2000), which takes the variance. Smoothed first: noise
    and the rounding to whole grey levels are no detail.
    """
    return float(cv2.Laplacian(cv2.GaussianBlur(_face(crop), (0, 0), 1), cv2.CV_32F).std())


def brightness(crop: npt.NDArray[np.uint8]) -> float:
    """Mean grey level, 0..255, inside the face box of a uint8 (S, S, 3) BGR crop."""
    return float(_face(crop).mean())


class QualityGate:
    """Rates faces by the `quality` settings."""

    def __init__(self, settings: QualitySettings) -> None:
        self._settings = settings

    def rate(self, crops: npt.NDArray[np.uint8], detections: sv.Detections, frame_size: tuple[int, int]) -> None:
        """Write `data["quality"]`, float32 (n,) in 0..1; 0 for a face that has no vote.

        Args:
            crops: uint8 (n, S, S, 3) BGR, one a detection, as `faces.crop_faces` cuts them.
            frame_size: width, height in pixels.
        """
        boxes = np.asarray(detections.xyxy, np.float32)
        ratings = [self._rate(crop, box, frame_size) for crop, box in zip(crops, boxes, strict=True)]
        detections.data["quality"] = np.array(ratings, np.float32)

    def _rate(self, crop: npt.NDArray[np.uint8], box: npt.NDArray[np.float32], frame_size: tuple[int, int]) -> float:
        wanted = self._settings
        if not wanted.enabled:
            return 1.0
        quality = (
            _ramp(float(box[2] - box[0]), wanted.width_px)
            * _ramp(sharpness(crop), wanted.sharpness)
            * _ramp(brightness(crop), wanted.brightness)
        )
        if min(box[0], box[1], frame_size[0] - box[2], frame_size[1] - box[3]) < 1:
            quality *= wanted.at_edge
        return quality if quality >= wanted.lowest else 0.0


def _ramp(value: float, full: float) -> float:
    return 1.0 if value >= full else max(0.0, 2 * value / full - 1)


def _face(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    border = round(len(crop) * _BORDER)
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[border : len(crop) - border, border : len(crop) - border]
    return np.asarray(grey, np.float32)

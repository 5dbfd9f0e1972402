"""The preprocessing of the mask classifier, its pixel contract: face box -> square crop -> network input.

Training imports this module too, so that the network sees the same pixels in both places. Change anything here
and the classifier has to be trained again.
"""

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.inference.manifest import CROP_MARGIN, CROP_SIZE, PIXEL_MEAN, PIXEL_SCALE
from edge_app.planes import Picture, Pixels, as_picture

__all__ = ["CROP_MARGIN", "CROP_SIZE", "PIXEL_MEAN", "PIXEL_SCALE", "crop_face", "crop_faces", "to_network_input"]


def crop_face(image: Pixels | Picture, box: npt.NDArray[np.floating], size: int = CROP_SIZE) -> npt.NDArray[np.uint8]:
    """Cut one face out as a square.

    The square is centred on the box. Outside the image the nearest pixels are repeated (BORDER_REPLICATE), because a
    fixed border colour would tell the network which photos were tightly cut. Shrinking averages pixels (INTER_AREA).

    Args:
        image: uint8 (H, W, 3) BGR, or a picture.
        box: x0, y0, x1, y1 in pixels of `image`; may lie partly outside.
        size: side of the result in pixels.

    Returns:
        uint8 (size, size, 3) BGR.
    """
    picture = as_picture(image)
    width, height = picture.width, picture.height
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(1, round(max(x1 - x0, y1 - y0) * (1 + CROP_MARGIN)))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    # A box wholly outside would leave nothing to repeat: keep at least one row and column of the image.
    left, top = min(max(left, 1 - side), width - 1), min(max(top, 1 - side), height - 1)
    inside = picture.part(max(left, 0), max(top, 0), min(left + side, width), min(top + side, height))
    pad = (max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0))
    if any(pad):
        inside = np.asarray(cv2.copyMakeBorder(inside, *pad, borderType=cv2.BORDER_REPLICATE), np.uint8)
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (size, size), interpolation=how), np.uint8)


def crop_faces(
    image: Pixels | Picture, boxes: npt.NDArray[np.floating], size: int = CROP_SIZE
) -> npt.NDArray[np.uint8]:
    """`crop_face` for every box: float (n, 4) xyxy -> uint8 (n, size, size, 3) BGR; n may be 0."""
    if len(boxes) == 0:
        return np.zeros((0, size, size, 3), np.uint8)
    return np.stack([crop_face(image, box, size) for box in boxes])


def to_network_input(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 (n, S, S, 3) BGR crops -> float32 (n, 3, S, S) RGB in -1..1, contiguous."""
    rgb = crops[..., ::-1].transpose(0, 3, 1, 2)
    return (np.ascontiguousarray(rgb, dtype=np.float32) - PIXEL_MEAN) / PIXEL_SCALE

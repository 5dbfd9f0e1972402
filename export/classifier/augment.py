"""Augmentation of the classifier's faces: synthetic masks and occluders, box jitter, image degradation.

Everything but masks has the same probability for both classes, so that blur, borders and tight boxes do not correlate
with the class. `augment` takes a `Face`, gives a crop and its class.
"""

import cv2
import numpy as np

from edge_app.vision.crops import crop_face
from export.classifier.data import INCORRECT, MASK, NO_MASK, Face, Image
from export.classifier.hyperparameters import DEFAULTS, Hyperparameters
from export.classifier.paint import draw_chin_mask, draw_mask, draw_object
from export.common.engines import Array


def augment(
    face: Face, donor: Face | None, rng: np.random.Generator, hp: Hyperparameters = DEFAULTS
) -> tuple[Image, int]:
    """One random augmentation of a face.

    Args:
        face: the face; not changed.
        donor: a masked face whose mask texture may be warped onto a bare one; None: drawn patterns only.
        rng: the only source of randomness.

    Returns:
        uint8 (S, S, 3) BGR, S = `CROP_SIZE`, and the class MASK or NO_MASK.
    """
    face = Face(face.region.copy(), face.box, face.seen, face.points, face.kind, face.source)
    target = MASK if face.kind == MASK else NO_MASK
    if face.kind == NO_MASK:
        chance = rng.random()
        if chance < hp.synthetic_masks:
            draw_mask(face, donor, rng)
            target = MASK
        elif chance < hp.synthetic_masks + hp.chin_masks:
            draw_chin_mask(face, donor, rng)
    if rng.random() < hp.objects:
        draw_object(face, rng, covers_mouth=target == NO_MASK and face.kind != INCORRECT)
    box = jitter(face, rng)
    region, box = truncate(*rotate(face.region, box, rng), rng)
    crop = crop_face(region, box)
    if rng.random() < 0.5:
        crop = np.ascontiguousarray(crop[:, ::-1])
    return degrade(crop, rng), target


def jitter(face: Face, rng: np.random.Generator) -> Array:
    """Box jitter, as of a detector: one of the two known boxes, shifted and scaled; at times the whole head."""
    box = face.seen if np.isfinite(face.seen).all() and rng.random() < 0.5 else face.box
    size, centre = box[2:] - box[:2], (box[:2] + box[2:]) / 2
    if rng.random() < 0.15:  # head boxes reach up to the crown, about a third more
        centre, size = centre - [0, 0.12 * size[1]], size * 1.3
    centre = centre + rng.normal(0, 0.05, 2).clip(-0.13, 0.13) * size
    half = size / 2 * np.clip(np.exp(rng.normal(0, 0.11)), 0.75, 1.35) * np.exp(rng.normal(0, 0.04, 2))
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def rotate(region: Image, box: Array, rng: np.random.Generator) -> tuple[Image, Array]:
    """Random rotation, up to 25 degrees about the box's centre, for a third of the faces."""
    if rng.random() > 0.35:
        return region, box
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    matrix = cv2.getRotationMatrix2D((x, y), float(np.clip(rng.normal(0, 10), -25, 25)), 1.0)
    turned = cv2.warpAffine(region, matrix, region.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8), box


def truncate(region: Image, box: Array, rng: np.random.Generator) -> tuple[Image, Array]:
    """Truncation, as of a face at the frame's edge: the picture ends inside the crop; the mouth stays inside."""
    if rng.random() > 0.15:
        return region, box
    height, width = region.shape[:2]
    (x0, y0, x1, y1), size = box, box[2:] - box[:2]
    side, depth = rng.integers(4), rng.uniform(-0.15, 0.3)
    if side == 0 and (cut := int(x0 + depth * size[0])) > 0:
        return region[:, cut:], box - np.array([cut, 0, cut, 0], np.float32)
    if side == 1 and (cut := int(y0 + depth * size[1])) > 0:
        return region[cut:], box - np.array([0, cut, 0, cut], np.float32)
    if side == 2 and 0 < (cut := int(x1 - depth * size[0])) < width:
        return region[:, :cut], box
    if side == 3 and 0 < (cut := int(y1 - min(depth, 0.08) * size[1])) < height:
        return region[:cut], box
    return region, box


def degrade(crop: Image, rng: np.random.Generator) -> Image:
    """Photometric augmentation: low resolution, blur, exposure, gamma, white balance, greyscale, noise, JPEG.

    uint8 (S, S, 3) BGR, same out.
    """
    size = crop.shape[0]
    if rng.random() < 0.4:  # low resolution, upscaled as `crop_face` does
        small = int(np.exp(rng.uniform(np.log(12), np.log(72))))
        far = cv2.resize(crop, (small, small), interpolation=cv2.INTER_AREA)
        crop = np.asarray(cv2.resize(far, (size, size)), np.uint8)
    if rng.random() < 0.2:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.5, 2.5)), np.uint8)
    if rng.random() < 0.1:  # motion
        kernel = np.zeros((9, 9), np.float32)
        length, angle = rng.uniform(1, 4), rng.uniform(0, np.pi)
        tip = (np.array([np.cos(angle), np.sin(angle)]) * length).round().astype(int)
        cv2.line(kernel, tuple((4 - tip).tolist()), tuple((4 + tip).tolist()), 1.0)
        crop = np.asarray(cv2.filter2D(crop, -1, kernel / kernel.sum()), np.uint8)
    pixels = crop.astype(np.float32)
    if rng.random() < 0.6:  # exposure and contrast
        gain, offset = rng.uniform(0.65, 1.35), rng.uniform(-25, 25)
        pixels = (pixels - 127) * gain + 127 + offset
    if rng.random() < 0.25:  # low light or glare
        gamma = np.exp(rng.normal(0, 0.45))
        pixels = 255 * (pixels.clip(0, 255) / 255) ** gamma
    if rng.random() < 0.12:
        pixels *= rng.uniform(0.15, 0.5)
    if rng.random() < 0.3:  # white balance
        pixels *= np.exp(rng.normal(0, 0.13, 3)).astype(np.float32)
    if rng.random() < 0.15:
        pixels[:] = pixels.mean(2, keepdims=True)
    if rng.random() < 0.25:
        pixels += rng.standard_normal(pixels.shape, np.float32) * rng.uniform(2, 14)
    crop = pixels.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.35:
        quality = int(rng.integers(12, 80))
        jpeg = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        crop = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
    return crop

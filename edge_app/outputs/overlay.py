"""Draws what was found: takes a result, gives a copy of its picture with boxes and labels. Decides nothing."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.records import FrameResult, tracker_ids

# Green, red and amber of the Okabe-Ito palette, told apart by colour-blind eyes too; the text says the same.
_COLOURS = {"mask": "#009E73", "no_mask": "#D55E00", "unsure": "#E69F00"}
_ROW = {label: row for row, label in enumerate(_COLOURS)}


def annotate(result: FrameResult) -> npt.NDArray[np.uint8]:
    """The frame with a box and a text such as `#3 mask 97%`, or `#3 checking`, for each face.

    Returns:
        uint8 (H, W, 3) BGR; the frame itself is left as it is.
    """
    detections = result.detections
    texts = [
        (f"#{tracker_id} " if tracker_id >= 0 else "") + _text(v.label, v.confidence, unsure="checking")
        for tracker_id, v in zip(tracker_ids(detections), result.verdicts, strict=True)
    ]
    return _draw(result.frame.image, detections, [v.label for v in result.verdicts], texts)


def annotate_image(
    image: npt.NDArray[np.uint8], detections: sv.Detections, labels: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """One picture, uint8 (H, W, 3) BGR, with a box for each row; `labels` holds mask, no_mask or unsure for each."""
    masks = detections.data.get("mask_probability", np.full(len(detections), np.nan))
    texts = [
        _text(label, mask if label == "mask" else 1 - mask, unsure="unsure")
        for label, mask in zip(labels, masks, strict=True)
    ]
    return _draw(image, detections, list(labels), texts)


def _text(label: str, confidence: float, unsure: str) -> str:
    """A label and how sure it is, which nothing is that is `unsure`."""
    if label == "unsure":
        return unsure
    words = label.replace("_", " ")
    return words if np.isnan(confidence) else f"{words} {confidence:.0%}"


def _draw(
    image: npt.NDArray[np.uint8], detections: sv.Detections, labels: list[str], texts: list[str]
) -> npt.NDArray[np.uint8]:
    scene = image.copy()
    if len(detections) == 0:
        return scene
    boxes, tags = _annotators(image.shape[0])
    # supervision picks colours by class: give it the label's row, and no other columns that it might read.
    plain = sv.Detections(xyxy=detections.xyxy, class_id=np.array([_ROW[label] for label in labels]))
    scene = tags.annotate(boxes.annotate(scene, plain), plain, labels=texts)
    return np.asarray(scene, np.uint8)


@lru_cache(maxsize=8)
def _annotators(height: int) -> tuple[sv.BoxAnnotator, sv.LabelAnnotator]:
    """Lines and letters that look alike at every frame height (pixels)."""
    palette = sv.ColorPalette.from_hex(list(_COLOURS.values()))
    lookup = sv.ColorLookup.CLASS
    return (
        sv.BoxAnnotator(palette, thickness=max(1, round(height / 360)), color_lookup=lookup),
        sv.LabelAnnotator(
            palette,
            text_scale=max(0.35, height / 1300),
            text_thickness=max(1, round(height / 600)),
            text_padding=max(2, round(height / 160)),
            color_lookup=lookup,
            smart_position=False,
        ),
    )

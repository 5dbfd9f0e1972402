"""Compare two face detectors of the same contract: interleaved timing on the same picture, and landmarks."""

from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.vision.detector import Engine
from export.common.engines import Array, iou, landmarks, xyxy
from export.common.timing import in_turn
from export.detector.evaluate import Picture, load

SURE = 0.8  # lowest score at which a peer's landmarks are compared
CLOSE = 0.08  # of the face width


def race(engines: dict[str, Engine], picture: Picture, side: int) -> dict[str, float]:
    """Median milliseconds of each engine on the picture as a square.

    At the score threshold of each engine: with a much lower one NMS of hundreds of boxes would be a tenth of the time.
    """
    square = np.asarray(cv2.resize(load(picture), (side, side), interpolation=cv2.INTER_AREA), np.uint8)
    return in_turn({name: partial(engine, square) for name, engine in engines.items()}, rounds=100)


def landmark_gap(engine: Engine, peer: Engine, pictures: list[Picture], long_side: int, score: float) -> dict[str, Any]:
    """Landmark error of an engine against a peer, in face widths, on faces that both detect.

    Args:
        score: lowest score of the engine's own detections.
    """
    gaps = []
    for picture in pictures:
        image = load(picture)
        scale = long_side / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ours, theirs = engine(np.asarray(small, np.uint8)), peer(np.asarray(small, np.uint8))
        ours, theirs = ours[ours[:, 14] >= score], theirs[theirs[:, 14] >= SURE]
        if len(ours) == 0 or len(theirs) == 0:
            continue
        overlap = iou(xyxy(theirs), xyxy(ours))
        for i in np.flatnonzero(overlap.max(1) >= 0.5):
            gap = landmarks(ours)[overlap[i].argmax()] - landmarks(theirs)[i]
            gaps.append(np.hypot(*gap.T) / theirs[i, 2])
    if not gaps:
        return {"n": 0}
    each = np.array(gaps)
    return {
        "n": len(each),
        "median": round(float(np.median(each)), 4),
        "mean by point (eyes, nose, mouth corners)": [round(float(v), 4) for v in each.mean(0)],
        f"faces with a mean gap within {CLOSE:.0%} of their width": round(float((each.mean(1) <= CLOSE).mean()), 4),
    }


def at_scale(engine: Engine, factor: float) -> Engine:
    """The engine on pictures scaled by that factor, its rows in pixels of the original."""

    def see(image: npt.NDArray[np.uint8]) -> Array:
        rows = engine(np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8))
        return np.asarray(np.hstack([rows[:, :14] / factor, rows[:, 14:]]), np.float32)

    return see


def disagreement(
    first: Engine, second: Engine, pictures: list[Picture], long_side: int, least: float
) -> dict[str, Any]:
    """Largest differences of two engines that run one file, over detections with a score of `least` and more."""
    pixels = scores = 0.0
    count = unmatched = 0
    for picture in pictures:
        image = load(picture)
        scale = long_side / max(image.shape[:2])
        small = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        a, b = first(small), second(small)
        a, b = a[a[:, 14] >= least], b[b[:, 14] >= least - 0.01]
        for row in a:
            gaps = np.abs(b[:, :4] - row[:4]).max(1) if len(b) else np.array([np.inf])
            count += 1
            if gaps.min() > 1:
                unmatched += 1
                continue
            pixels = max(pixels, float(gaps.min()))
            scores = max(scores, abs(float(b[gaps.argmin(), 14] - row[14])))
    return {
        "detections": count,
        "not within 1 px": unmatched,
        "largest difference, px": round(pixels, 4),
        "largest difference, score": round(scores, 5),
    }

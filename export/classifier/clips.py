"""Evaluate the whole pipeline on labelled clips, with default settings, and count correct verdicts.

`clips.json` beside the clips gives frame ranges in which everyone in view is masked, or bare. Each face of a confirmed
track in such a frame has one verdict, which is right, wrong or unsure. The classification of that frame alone is
reported too, which separates errors of the classifier from those of the vote.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import supervision as sv

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings
from edge_app.errors import UsageError
from edge_app.runtime.pipeline import SourceAnalyzer
from edge_app.vision.classifier import MaskClassifier

# x0, y0, x1, y1 in pixels: a painted portrait that never wears a mask; faces centred there are not counted.
ASIDE = {"group_putting_masks_on.mp4": (430, 85, 530, 175)}


def evaluate(folder: Path, settings: Settings) -> dict[str, Any]:
    """Figures of every clip in `folder/clips.json`.

    Returns:
        clip -> frames, persons (that had events), detections, right, wrong and unsure verdicts in labelled frames, and
        `share right` of the verdicts mask and no_mask, and `share right of all` with unsure counted as not right.
        Of the same faces: `called mask, share of faces` with a mask probability at or above the mask threshold in the
        single frame, and `told mask, share of faces` with the voted verdict mask.
    """
    classifier = MaskClassifier(settings.classifier)
    labels = _labels(folder / "clips.json")
    return {name: _clip(folder / name, ranges, settings, classifier) for name, ranges in labels.items()}


def _labels(path: Path) -> dict[str, list[list[Any]]]:
    """Clip -> first frame, last frame and label of each labelled range.

    Raises:
        UsageError: the file is something else.
    """
    try:
        clips = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: [[int(first), int(last), str(label)] for first, last, label in truth["labels"]]
            for name, truth in clips.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UsageError(f'{path}: expected JSON such as {{"a.mp4": {{"labels": [[0, 244, "mask"]]}}}}') from None


def _clip(path: Path, ranges: list[list[Any]], settings: Settings, classifier: MaskClassifier) -> dict[str, Any]:
    bound, _ = classifier.bounds(settings.verdict)
    analyzer, counts, persons, faces, frames = SourceAnalyzer(settings), Counter[str](), set[str](), 0, 0
    called = voted = 0
    aside = ASIDE.get(path.name)
    with FrameReader(parse_source(str(path)), SourceSettings(uri=str(path))) as reader:
        for frame in reader:
            result = analyzer.judge(analyzer.detect(frame))
            persons.update(event.id for event in result.events)
            frames, faces = frames + 1, faces + len(result.detections)
            truth = next((label for first, last, label in ranges if first <= frame.index <= last), None)
            found = result.detections
            if truth is None or found.tracker_id is None:
                continue
            alone = sv.Detections(found.xyxy)  # the pipeline does not classify every face in every frame
            classifier.classify(frame.image, alone)
            rows = zip(found.tracker_id, found.xyxy, result.verdicts, alone.data["mask_probability"], strict=True)
            for tracker_id, (x0, y0, x1, y1), verdict, probability in rows:
                x, y = (x0 + x1) / 2, (y0 + y1) / 2
                if tracker_id < 0 or (aside and aside[0] <= x <= aside[2] and aside[1] <= y <= aside[3]):
                    continue
                right = "right" if verdict.label == truth else "unsure" if verdict.label == "unsure" else "wrong"
                counts[right] += 1
                called += probability >= bound
                voted += verdict.label == "mask"
    persons.update(event.id for event in analyzer.close())
    decided, shown = counts["right"] + counts["wrong"], counts.total()
    return {
        "frames": frames,
        "detections": faces,
        "persons": len(persons),
        **{kind: counts[kind] for kind in ("right", "wrong", "unsure")},
        "share right": round(counts["right"] / decided, 4) if decided else None,
        "share right of all": round(counts["right"] / shown, 4) if shown else None,
        "called mask, share of faces": round(int(called) / shown, 4) if shown else None,
        "told mask, share of faces": round(voted / shown, 4) if shown else None,
    }

"""Labelled clips through the whole line with the real models: the single frame beside the vote."""

import json
from pathlib import Path

import pytest

from tests.media import write_clip
from tests.workshop import leave, missing

if reason := missing("skimage"):
    leave(reason)

from edge_app.capture.demo import portrait
from edge_app.config.layers import resolve
from export.classifier.clips import evaluate

FRAMES = 30
CALLED, TOLD = "called mask, share of faces", "told mask, share of faces"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name, masked in (("bare.mp4", False), ("masked.mp4", True)):
        write_clip(tmp_path / name, [portrait(masked)] * FRAMES)
    labels = {
        "bare.mp4": {"labels": [[0, FRAMES - 1, "no_mask"]]},
        "masked.mp4": {"labels": [[0, FRAMES - 1, "mask"]]},
    }
    (tmp_path / "clips.json").write_text(json.dumps(labels), encoding="utf-8")
    return tmp_path


def test_the_single_frame_is_told_apart_from_the_vote(models: Path, clips: Path) -> None:
    told = evaluate(clips, resolve(config=None, assignments=(), flags={}).settings)
    assert (told["bare.mp4"][CALLED], told["bare.mp4"][TOLD]) == (0, 0)
    masked = told["masked.mp4"]
    assert masked[CALLED] == 1  # every frame alone, while the first votes are still unsure
    assert 0.5 < masked[TOLD] < 1
    shown = masked["right"] + masked["wrong"] + masked["unsure"]
    assert masked[TOLD] == pytest.approx(masked["right"] / shown, abs=1e-4)


def test_the_bound_of_the_settings_is_the_one_that_counts(models: Path, clips: Path) -> None:
    settings = resolve(config=None, assignments=("verdict.mask_threshold=1",), flags={}).settings
    assert evaluate(clips, settings)["masked.mp4"][CALLED] < 1

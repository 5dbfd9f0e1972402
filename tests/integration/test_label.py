"""Labelling generated pictures and a clip with the real models, and training on what came out."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.media import write_clip
from tests.workshop import Pixels, StepClock, leave, missing

if reason := missing("torch", "torchvision", "onnx", "sklearn", "onnxruntime.quantization"):
    leave(reason)

import torch

from edge_app.capture import demo
from edge_app.errors import UsageError
from edge_app.vision.crops import crop_face, to_network_input
from export.__main__ import main
from export.classifier.data import INCORRECT, MASK, NO_MASK, Finder, coco_faces, store_faces
from export.classifier.hyperparameters import Hyperparameters
from export.classifier.reviewed import JoinedFaces, added_faces
from export.classifier.train import load, train
from export.common import coco as coco_file
from export.common.engines import iou
from export.common.training import load_checkpoint
from tests.integration.test_classifier_workshop import views

SMALL = Hyperparameters(batch=8)

pytestmark = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")

Label = Callable[..., tuple[int, str, str]]
BAND = ("--set", "verdict.mask_threshold=1", "--set", "verdict.no_mask_threshold=0")  # nothing is ever sure


@pytest.fixture
def label(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Label:
    def call(*arguments: object, command: str = "label") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export", command, *map(str, arguments)])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return call


def scene(masked: bool, blend: float = 0.0) -> Pixels:
    """The person in front of a wall, 480x400; `blend` mixes the other state in, which leaves the face doubtful."""
    person = demo.portrait(masked).astype(float) * (1 - blend) + demo.portrait(not masked) * blend
    image = np.full((400, 480, 3), 140, np.uint8)
    image[50:350, 80:400] = person.round()
    return image


@pytest.fixture
def week(models: Path, astronaut: Pixels, tmp_path: Path) -> Path:
    """What a camera may have left: two clear pictures, an empty one, a damaged one, a clip, and something else."""
    folder = tmp_path / "week"
    folder.mkdir()
    cv2.imwrite(str(folder / "bare.png"), scene(masked=False))
    cv2.imwrite(str(folder / "masked.jpg"), scene(masked=True))
    cv2.imwrite(str(folder / "nobody.png"), np.full((300, 300, 3), 90, np.uint8))
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more than that")
    (folder / "notes.txt").write_text("not a picture")
    write_clip(folder / "walk.mp4", [scene(masked=i >= 12) for i in range(24)])
    return folder


def by_name(coco: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    return {name: [n for n in coco["annotations"] if n["image_id"] == i] for i, name in names.items()}


def test_pictures_and_clips_become_a_coco_file_that_the_workshop_reads(week: Path, label: Label) -> None:
    out = week.parent / "labelled" / "labels.json"
    code, printed, err = label(week, "--out", out, "--every", 10)
    assert (code, err) == (0, "")
    counts = json.loads(printed)
    assert (counts["images"], counts["faces"]) == (6, 5)
    assert len(counts["passed over"]) == 1
    assert "damaged.jpg" in counts["passed over"][0]

    coco = coco_file.read(out)
    assert [(c["id"], c["name"]) for c in coco["categories"]] == [(1, "mask"), (2, "no_mask"), (3, "incorrect_mask")]
    found = by_name(coco)
    clip = [f"walk.mp4_{i:06d}.jpg" for i in (0, 10, 20)]
    assert set(found) == {"bare.png", "masked.jpg", "nobody.png", *clip}
    assert {name: [n["category_id"] for n in notes] for name, notes in found.items()} == {
        "bare.png": [2], "masked.jpg": [1], "nobody.png": [], clip[0]: [2], clip[1]: [2], clip[2]: [1],
    }  # fmt: skip
    (face,) = found["bare.png"]
    x, y, width, height = face["bbox"]
    portrait = np.array([[80 + 118, 50 + 66, 80 + 118 + 90, 50 + 66 + 112]], np.float32)  # where `demo.portrait` has it
    assert iou(np.array([[x, y, x + width, y + height]], np.float32), portrait)[0, 0] > 0.75
    assert face["mask_probability"] < 0.2
    assert 0.5 < face["score"] <= 1
    for image in coco["images"]:
        pixels = cv2.imread(str(out.parent / "images" / image["file_name"]))
        assert pixels.shape[:2] == (image["height"], image["width"])
    assert coco["images"][-1]["file_name"] == "nobody.png"
    kinds = [face.kind for face in coco_faces(out, out.parent / "images", Finder())]
    sure = [n for n in coco["annotations"] if "review" not in n]
    assert sorted(kinds) == sorted(MASK if n["category_id"] == 1 else NO_MASK for n in sure)


def test_the_most_doubtful_face_comes_first_and_waits_for_review(
    models: Path, astronaut: Pixels, tmp_path: Path, label: Label
) -> None:
    folder = tmp_path / "blends"
    folder.mkdir()
    for i, blend in enumerate(np.linspace(0, 1, 9)):
        cv2.imwrite(str(folder / f"{i}.png"), scene(masked=False, blend=float(blend)))
    out = tmp_path / "labels.json"
    first = tmp_path / "first" / "labels.json"
    assert label(folder, "--out", first)[0] == 0
    # The band is as wide as holds the three most doubtful, whatever this model says of them.
    doubts = sorted(abs(n["mask_probability"] - 0.5) for n in coco_file.read(first)["annotations"])
    reach = (doubts[2] + doubts[3]) / 2
    low, high = 0.5 - reach, 0.5 + reach
    bounds = {"mask": high, "no_mask": low}
    code, printed, _ = label(folder, "--out", out, *[f"--set=verdict.{k}_threshold={v}" for k, v in bounds.items()])
    assert code == 0
    coco = coco_file.read(out)
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    assert {names[n["image_id"]] for n in coco["annotations"]} == {f"{i}.png" for i in range(9)}
    doubts = [round(abs(n["mask_probability"] - 0.5), 4) for n in coco["annotations"]]  # 0.0033 is as sure as 0.9967
    assert doubts == sorted(doubts)
    assert doubts[0] < doubts[-1]
    for note in coco["annotations"]:
        assert note.get("review", False) is (low < note["mask_probability"] < high)
        assert note["category_id"] == (1 if note["mask_probability"] >= 0.5 else 2)
    assert json.loads(printed)["review"] == sum("review" in n for n in coco["annotations"]) == 3


def test_reviewed_faces_are_added_to_a_training_and_unreviewed_ones_are_not(
    week: Path, astronaut: Pixels, label: Label, tmp_path: Path
) -> None:
    out, run = tmp_path / "labelled" / "labels.json", tmp_path / "run"
    assert label(week, "--out", out, "--every", 10, *BAND)[0] == 0
    assert all(n["review"] for n in coco_file.read(out)["annotations"])
    with pytest.raises(UsageError, match=r"labels\.json: no face to train on: .*5 of 5 annotations wait for review"):
        added_faces(out, run)

    coco = coco_file.read(out)
    for note in coco["annotations"][:3]:
        del note["review"]
    out.write_text(json.dumps(coco))
    base = store_faces(iter(views(astronaut, 20, seed=0)), run / "faces")
    added = added_faces(out, run)
    joined = JoinedFaces([base, added])
    assert (len(added), len(joined)) == (3, 23)
    assert joined.kinds.tolist() == [*base.kinds, *added.kinds]
    for place, (part, i) in {0: (base, 0), 19: (base, 19), 20: (added, 0), 22: (added, 2)}.items():
        assert np.array_equal(joined[place].region, part[i].region)
        assert (joined[place].kind, joined[place].source) == (part[i].kind, part[i].source)
    assert set(joined.sources) == {"drawn", "week"}

    coco["annotations"][3].pop("review")  # a later review is read, not what was stored before
    out.write_text(json.dumps(coco))
    assert len(added_faces(out, run)) == 4


def test_a_training_sees_what_was_added(week: Path, astronaut: Pixels, label: Label, tmp_path: Path) -> None:
    """All other faces are badly masked ones: who calls faces masked has seen the added one."""
    out, run = tmp_path / "labelled" / "labels.json", tmp_path / "run"
    for path in week.iterdir():
        if path.name != "masked.jpg":
            path.unlink()
    assert label(week, "--out", out)[0] == 0
    others = views(astronaut, 20, seed=0)
    for face in others:
        face.kind = INCORRECT
    base = store_faces(iter(others), run / "faces")
    called = {}
    for name, add in (("without", []), ("with", [out, out])):
        path = train(
            tmp_path / name, 0.5, threads=1, faces=base, width=8, hyperparameters=SMALL, add=add, clock=StepClock()
        )
        state = load_checkpoint(path)
        assert state is not None
        assert state["added"] == [("labels.json", 1)] * len(add)
        region = added_faces(out, run)[0]
        crop = to_network_input(crop_face(region.region, region.box)[None])
        with torch.inference_mode():
            mask, no_mask = load(path)(torch.from_numpy(crop))[0].tolist()
        called[name] = mask > no_mask
    assert called == {"without": False, "with": True}


def test_nothing_is_overwritten(week: Path, label: Label) -> None:
    out = week.parent / "labels.json"
    assert label(week, "--out", out)[0] == 0
    before = out.read_bytes()
    code, _, err = label(week, "--out", out)
    assert (code, err.count("\n")) == (2, 1)
    assert "labels.json: already there" in err
    assert out.read_bytes() == before
    cv2.imwrite(str(week / "bare.png"), scene(masked=True))
    code, _, err = label(week, "--out", out.with_name("second.json"))
    assert (code, err.count("\n")) == (2, 1)
    assert "bare.png: another picture of this name is there already" in err
    assert not out.with_name("second.json").exists()


def test_folders_without_anything_to_label(models: Path, label: Label, tmp_path: Path) -> None:
    def refused(expected: int, *words: str) -> None:
        code, out, err = label(tmp_path / "folder", "--out", tmp_path / "labels.json")
        assert (code, out, err.count("\n")) == (expected, "", 1)
        assert all(word in err for word in words), err
        assert not (tmp_path / "labels.json").exists()

    refused(2, "folder: No such file", "expected a folder of pictures and clips")
    (tmp_path / "folder").mkdir()
    refused(2, "no pictures or clips", ".jpg", ".mp4")
    (tmp_path / "folder" / "a.mp4").write_bytes(b"no film")
    refused(4, "none of its 1 pictures and clips can be decoded", "a.mp4")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("{", "not valid JSON"),
        ("[]", "expected lists images, annotations, categories; images is missing"),
        ({"annotations": None}, "annotations is missing"),
        ({"images": [{"id": 1}]}, "images[0]: no file_name"),
        ({"annotations": [{"image_id": 1, "category_id": 1}]}, "annotations[0]: no bbox"),
        ({"annotations": [{"image_id": 9, "category_id": 1, "bbox": [0, 0, 9, 9]}]}, "annotations[0]: its image_id"),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, "9", 9]}]},
            "expected [x, y, width, height]",
        ),
        ({}, "no picture"),
    ],
)
def test_a_file_that_cannot_be_added_is_one_line(tmp_path: Path, label: Label, content: Any, words: str) -> None:
    coco = tmp_path / "more.json"
    sound = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "mask"}]}
    if content is not None:
        coco.write_text(content if isinstance(content, str) else json.dumps(sound | content))
    with pytest.raises(UsageError) as caught:
        added_faces(coco, tmp_path / "run")
    message = str(caught.value)
    assert message.startswith(f"{coco}: ")
    assert words in message
    assert "\n" not in message
    assert caught.value.exit_code == 2

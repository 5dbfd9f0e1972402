"""The detector's training sets: read from real files with a real detector as teacher, divided by what they show."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.models import models_dir
from tests.workshop import Pixels, leave, missing

if reason := missing("torch", "sklearn", "matplotlib"):
    leave(reason)

from export.detector_data import FACE, IGNORE, UNCOVERED, load_sets

LABELS = ("mask", "no_mask", "incorrect_mask", "unlabelled_face", "face")
BOX = (170, 60, 110, 150)  # x, y, width, height of the astronaut's face


def coco(path: Path, **pictures: str) -> None:
    """A COCO file of pictures that show one face each; `unlabelled_face` is an `iscrowd` annotation."""
    path.write_text(
        json.dumps(
            {
                "categories": [{"id": i, "name": label} for i, label in enumerate(LABELS)],
                "images": [{"id": i, "file_name": f"{name}.png"} for i, name in enumerate(pictures)],
                "annotations": [
                    {"image_id": i, "category_id": LABELS.index(label), "bbox": BOX, "iscrowd": int(label == LABELS[3])}
                    for i, label in enumerate(pictures.values())
                ],
            }
        )
    )


@pytest.fixture
def data(tmp_path: Path, astronaut: Pixels) -> Path:
    data, scenes = tmp_path / "data", tmp_path / "data" / "scenes"
    folders = [scenes / "images", data / "photos" / "train" / "mask", data / "photos" / "train" / "no_mask"]
    for folder in folders:
        folder.mkdir(parents=True)
        for name in "abcde":
            cv2.imwrite(str(folder / f"{name}.png"), astronaut)
    cv2.imwrite(str(folders[1] / "empty.png"), np.full_like(astronaut, 128))
    coco(scenes / "train.json", a="mask", b="no_mask", c="incorrect_mask", d="unlabelled_face")
    coco(scenes / "auto_bare.json", e="no_mask")
    coco(scenes / "auto_street.json", e="face")
    return data


def test_pictures_with_scarce_labels_are_a_set_of_their_own(data: Path, tmp_path: Path) -> None:
    teacher, cache = models_dir() / "face_detector" / "model.onnx", tmp_path / "pictures.npz"
    sets = load_sets(data, teacher, cache)
    assert sum(weight for weight, _ in sets) == pytest.approx(1)
    names = [sorted(scene.name for scene in scenes) for _, scenes in sets]
    assert names[:4] == [["images/b.png", "images/c.png"], ["images/a.png", "images/d.png"], *[["images/e.png"]] * 2]
    # A photo's label is that of the picture, its box the teacher's; where that sees none the photo is left out.
    assert names[4:] == [[f"{kind}/{name}.png" for name in "abcde"] for kind in ("no_mask", "mask")]
    (_, scarce), (_, common), _, (_, street), (_, bare), (_, masked) = sets
    assert [scene.bare.tolist() for scene in scarce] == [[True], [False]]
    assert [scene.kinds.tolist() for scene in scarce] == [[UNCOVERED], [UNCOVERED]]
    assert [scene.kinds.tolist() for scene in common] == [[FACE], [IGNORE]]
    assert np.isfinite(scarce[0].landmarks).all()
    assert np.isnan(common[1].landmarks).all()
    assert street[0].kinds.tolist() == [FACE]
    assert bare[0].bare.all()
    assert UNCOVERED in bare[0].kinds
    assert not masked[0].bare.any()
    for folder in (data / "scenes" / "images", data / "photos"):  # the second time all comes from the cache
        shutil.rmtree(folder)
    assert [sorted(scene.name for scene in scenes) for _, scenes in load_sets(data, teacher, cache)] == names

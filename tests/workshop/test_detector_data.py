"""The detector's training sets: read from real files with a real detector as teacher, divided by what they show."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import UsageError
from edge_app.inference.model import models_dir
from tests.workshop import Pixels, leave, missing, red_scene

if reason := missing("torch", "sklearn", "matplotlib"):
    leave(reason)

from export.detector.data import DOUBTFUL, FACE, IGNORE, REACH, UNCOVERED, align_boxes, load_sets, reach
from export.detector.scene import Scene, read_scenes, write_scenes

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


@pytest.mark.parametrize("content", ["earlier", "objects", "cut off", "empty"])
def test_a_cache_that_cannot_be_used_is_made_anew(data: Path, tmp_path: Path, content: str) -> None:
    teacher, cache = models_dir() / "face_detector" / "model.onnx", tmp_path / "pictures.npz"
    if content == "earlier":
        np.savez(cache, format=np.array(0))
    elif content == "objects":
        np.savez(cache, read=np.empty(5, object), format=np.array([None]))
    else:
        write_scenes(cache, [[red_scene()]])
        cache.write_bytes(cache.read_bytes()[: 300 if content == "cut off" else 0])
    assert [len(scenes) for _, scenes in load_sets(data, teacher, cache)] == [2, 2, 1, 1, 5, 5]
    assert {scene.source for _, scenes in load_sets(data, teacher, cache) for scene in scenes} == {
        "train", "machine", "photos"
    }  # fmt: skip


def test_scenes_come_back_from_their_file_as_they_were(tmp_path: Path) -> None:
    first, second, third = red_scene(), red_scene((10, 20, 90, 110)), red_scene()
    first.hard, first.by_hand, first.source = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32), True, "ilc-2021"
    second.name, second.jpeg = "drawn/größer.png", second.jpeg[:100]
    none = np.zeros(0)
    third.boxes, third.kinds = none.reshape(0, 4).astype(np.float32), none.astype(np.int64)
    third.landmarks, third.bare = none.reshape(0, 5, 2).astype(np.float32), none.astype(bool)
    sets = [[first], [], [second, third]]
    write_scenes(tmp_path / "new" / "scenes.npz", sets)
    read = read_scenes(tmp_path / "new" / "scenes.npz") or []
    assert [len(part) for part in read] == [1, 0, 2]
    for before, after in zip([first, second, third], [read[0][0], *read[2]], strict=True):
        for part in fields(Scene):
            was, now = getattr(before, part.name), getattr(after, part.name)
            np.testing.assert_array_equal(now, was, strict=isinstance(was, np.ndarray))
    assert (read[0][0].image() == first.image()).all()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["scenes.npz"]
    write_scenes(tmp_path / "none.npz", [[], []])
    assert read_scenes(tmp_path / "none.npz") == [[], []]


class Intruder:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (Path(self.folder),)  # type: ignore[return-value]

    def __init__(self, folder: Path) -> None:
        self.folder = folder


@pytest.mark.parametrize("key", ["format", "names", "read"])
def test_nothing_in_a_file_of_scenes_is_run(tmp_path: Path, key: str) -> None:
    good = tmp_path / "good.npz"
    write_scenes(good, [[red_scene()]])
    with np.load(good) as stored:
        columns = {**{name: stored[name] for name in stored.files}, key: np.array([Intruder(tmp_path / "run")], object)}
    np.savez(tmp_path / "bad.npz", **columns)
    assert read_scenes(tmp_path / "bad.npz") is None
    assert not (tmp_path / "run").exists()
    with np.load(tmp_path / "bad.npz", allow_pickle=True) as stored:  # it would have been
        assert stored[key] is not None
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", ["missing", "empty", "text"])
def test_a_picture_that_is_no_more(data: Path, tmp_path: Path, fault: str) -> None:
    picture = data / "scenes" / "images" / "b.png"
    picture.unlink()
    if fault != "missing":
        picture.write_bytes(b"" if fault == "empty" else b"text")
    with pytest.raises((UsageError, FileNotFoundError), match=r"b\.png"):
        load_sets(data, models_dir() / "face_detector" / "model.onnx", tmp_path / "pictures.npz")
    assert not (tmp_path / "pictures.npz").exists()


class TestAgree:
    """Red squares with five points, labelled from the brows or from the crown of the head."""

    @staticmethod
    def labelled(source: str, count: int, above: float) -> list[Scene]:
        """Bare faces whose boxes begin `above` eye-to-mouth distances (27 px) over the eyes (y 141)."""
        scenes = [red_scene() for _ in range(count)]
        for scene in scenes:
            scene.source, scene.bare[:], scene.kinds[:] = source, True, UNCOVERED
            scene.boxes[0, 1] = 141 - 27 * above
        return scenes

    def test_boxes_of_all_sets_end_at_the_same_places(self) -> None:
        brows, crown = self.labelled("brows", 50, 0.5), self.labelled("crown", 50, 1.9)
        masked = self.labelled("crown", 1, 1.9)[0]
        masked.bare[:], masked.kinds[:], masked.landmarks[:] = False, FACE, np.nan
        align_boxes([*brows, *crown, masked])
        assert masked.boxes[0] == pytest.approx(brows[0].boxes[0], abs=0.01)
        for scene in (brows[0], crown[0]):
            assert reach(scene)[0] == pytest.approx(REACH, abs=0.001)
            assert scene.boxes[0, ::2].sum() == pytest.approx(200 + 260)  # about the same middle
            assert scene.boxes.dtype == np.float32

    def test_what_is_no_label_stays(self) -> None:
        scenes = self.labelled("crown", 50, 1.9)
        for kind in (IGNORE, DOUBTFUL):
            scenes[0].boxes = np.vstack([scenes[0].boxes, [[10, 10, 30, 40]]]).astype(np.float32)
            scenes[0].kinds = np.append(scenes[0].kinds, kind)
            scenes[0].bare = np.append(scenes[0].bare, False)
            scenes[0].landmarks = np.concatenate([scenes[0].landmarks, np.full((1, 5, 2), np.nan, np.float32)])
        align_boxes(scenes)
        assert scenes[0].boxes[1:].tolist() == [[10, 10, 30, 40]] * 2

    def test_few_faces_tell_nothing(self) -> None:
        scenes = self.labelled("crown", 30, 1.9)
        before = scenes[0].boxes.copy()
        align_boxes(scenes)
        assert (scenes[0].boxes == before).all()

"""Hard examples: found where a detector errs, sorted in a table, shown more often in training."""

import csv
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.workshop import Pixels, leave, missing

if reason := missing("torch", "sklearn", "matplotlib"):
    leave(reason)

from export.detector import batches as detector_batches
from export.detector.augment import random_crop
from export.detector.batches import Batches
from export.detector.data import DOUBTFUL, FACE, IGNORE
from export.detector.hyperparameters import Hyperparameters
from export.detector.mining import (
    MISSED,
    NOTHING,
    TILE,
    UNMARKED,
    HardExample,
    apply_table,
    hard_file,
    mine,
    read,
    sheets,
    write,
)
from export.detector.scene import Scene

Rows = npt.NDArray[np.float32]
GOAL = (520, 30, 560, 70)


def scene(*boxes: tuple[float, ...], kinds: tuple[int, ...] = (), name: str = "drawn/a.png") -> Scene:
    """640x480, grey, with a blue square at `GOAL`."""
    picture = np.full((480, 640, 3), 128, np.uint8)
    picture[GOAL[1] : GOAL[3], GOAL[0] : GOAL[2]] = (255, 0, 0)
    n = len(boxes)
    return Scene(
        name,
        np.asarray(cv2.imencode(".png", picture)[1]),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(kinds or (FACE,) * n, np.int64),
        np.full((n, 5, 2), np.nan, np.float32),
        np.zeros(n, bool),
    )


class Sees:
    """A detector that sees x0, y0, x1, y1, score of the 640 px picture in every picture; `large_only` not at 320."""

    def __init__(self, *found: tuple[float, ...], large_only: bool = False) -> None:
        self.found, self.large_only = found, large_only

    def __call__(self, image: Pixels) -> Rows:
        scale = image.shape[1] / 640
        rows = np.zeros((0 if self.large_only and scale < 1 else len(self.found), 15), np.float32)
        for row, (x0, y0, x1, y1, score) in zip(rows, self.found, strict=False):
            row[:4] = np.array([x0, y0, x1 - x0, y1 - y0]) * scale
            row[14] = score
        return rows


class TestMine:
    @pytest.mark.parametrize("large_only", [False, True])
    def test_a_place_that_no_label_explains_is_told_once(self, large_only: bool) -> None:
        (example,) = mine(Sees((300, 100, 340, 150, 0.8), large_only=large_only), [scene()])
        assert (example.picture, example.kind, example.score) == ("drawn/a.png", NOTHING, pytest.approx(0.8))
        assert example.box.tolist() == pytest.approx([300, 100, 340, 150], abs=0.01)

    @pytest.mark.parametrize(
        "seen",
        [
            (300, 100, 340, 150, 0.49),  # not sure
            (300, 100, 315, 115, 0.9),  # too small to count
            (100, 100, 200, 200, 0.9),  # the labelled face
            (420, 310, 450, 340, 0.9),  # in an ignored region
        ],
    )
    def test_what_is_no_error(self, seen: tuple[float, ...]) -> None:
        labelled = scene((100, 100, 200, 200), (400, 300, 500, 400), kinds=(FACE, IGNORE))
        assert mine(Sees((100, 100, 200, 200, 0.9), seen), [labelled]) == []

    def test_labelled_faces_it_is_not_sure_of_come_first(self) -> None:
        labelled = scene((100, 100, 200, 200), (400, 300, 440, 340), (500, 300, 510, 310))
        found = mine(Sees((100, 100, 200, 200, 0.3), (300, 100, 340, 150, 0.8)), [labelled])
        assert [(p.kind, round(p.score, 2)) for p in found] == [(MISSED, 0.0), (NOTHING, 0.8), (MISSED, 0.3)]
        assert found[0].box.tolist() == [400, 300, 440, 340]

    def test_what_has_been_sorted_is_not_told_again(self) -> None:
        given = scene((400, 300, 440, 340))
        given.hard = np.array([(300, 100, 340, 150), (400, 300, 440, 340)], np.float32)
        (example,) = mine(Sees((302, 101, 342, 151, 0.8), (500, 100, 540, 150, 0.8)), [given])
        assert example.box.tolist() == pytest.approx([500, 100, 540, 150], abs=0.01)

    def test_a_picture_without_anything(self) -> None:
        assert mine(Sees(), [scene()]) == []


def examples() -> list[HardExample]:
    rows = [((1, 2, 30, 40), 0.9, NOTHING), ((5, 5, 45, 55), 0.75, UNMARKED), ((9, 9, 29, 29), 0.25, MISSED)]
    return [HardExample("drawn/a.png", np.array(box, np.float32), score, kind) for box, score, kind in rows]


def test_the_table_there_and_back(tmp_path: Path) -> None:
    write(tmp_path / "new" / "hard.csv", examples())
    for got, want in zip(read(tmp_path / "new" / "hard.csv"), examples(), strict=True):
        assert (got.picture, got.box.tolist(), got.score, got.kind) == (
            want.picture, want.box.tolist(), want.score, want.kind,
        )  # fmt: skip
    assert read(tmp_path / "none.csv") == []


def test_the_shipped_table_is_sorted_and_whole() -> None:
    with hard_file().open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["is"] for row in rows} == {NOTHING, UNMARKED, MISSED}
    found = read(hard_file())
    assert len(found) == len(rows) > 1000
    assert all((p.box[2:] > p.box[:2]).all() and 0 <= p.score <= 1 for p in found)


def test_unmarked_faces_are_ignored_and_the_others_are_hard() -> None:
    here, there = scene((100, 100, 200, 200)), scene((100, 100, 200, 200), name="drawn/b.png")
    apply_table([here, there], examples())
    assert here.kinds.tolist() == [FACE, IGNORE]
    assert here.boxes[1].tolist() == [5, 5, 45, 55]
    assert (len(here.landmarks), len(here.bare)) == (2, 2)
    assert here.hard.tolist() == [[1, 2, 30, 40], [9, 9, 29, 29]]
    assert (len(there.boxes), len(there.hard)) == (1, 0)


def test_in_a_picture_labelled_by_hand_unmarked_faces_are_doubtful() -> None:
    here = scene((100, 100, 200, 200), (5, 5, 45, 55))
    here.by_hand = True
    apply_table([here], examples())
    assert here.kinds.tolist() == [FACE, IGNORE, IGNORE]  # the second was labelled, whatever it shows
    here = scene((100, 100, 200, 200))
    here.by_hand = True
    apply_table([here], examples())
    assert here.kinds.tolist() == [FACE, DOUBTFUL]


def test_a_label_that_was_sorted_as_not_to_be_told_is_ignored() -> None:
    labelled = scene((5, 5, 45, 55), (300, 100, 400, 200))
    apply_table([labelled], examples())
    assert labelled.kinds.tolist() == [IGNORE, FACE, IGNORE]


def blue(image: Pixels) -> int:
    return int(((image[..., 0] > 200) & (image[..., 1] < 90) & (image[..., 2] < 90)).sum())


def test_a_window_with_a_goal_shows_it() -> None:
    goal, given = np.array(GOAL, np.float32), scene((100, 300, 200, 400))
    shown = [blue(random_crop(given, 320, np.random.default_rng(seed), goal).image) for seed in range(40)]
    assert np.percentile(shown, 10) > 100  # a turn may carry one at the window's edge out of it
    without = [blue(random_crop(given, 320, np.random.default_rng(seed)).image) for seed in range(40)]
    assert min(without) == 0


def test_batches_come_back_to_hard_places(monkeypatch: pytest.MonkeyPatch) -> None:
    easy, hard = scene(), scene(name="drawn/b.png")
    easy.jpeg = np.asarray(cv2.imencode(".png", np.full((480, 640, 3), 128, np.uint8))[1])
    hard.hard = np.array([GOAL], np.float32)
    sets = [(1.0, [easy]), (1e-9, [hard])]  # the second is met as a hard place or not at all

    def share(of: float, pasted: float = 0.0) -> float:
        hp = Hyperparameters(mosaics=0.0, hard_examples=of, pasted_negatives=pasted)
        monkeypatch.setattr(detector_batches, "degrade", lambda image, rng: image)
        stream = iter(Batches(sets, 0, hp))
        return float(np.mean([blue(sample.image) > 0 for _ in range(4) for sample in next(stream)]))

    assert share(0.0) == 0
    assert 0.1 < share(0.3) < 0.5
    assert share(1.0) > 0.9  # a turn may carry one at the window's edge out of it
    assert 0.2 < share(0.0, pasted=0.5) < 0.6  # no label marks a face there, so other windows may show the place too


def test_sheets_show_the_false_positives(tmp_path: Path) -> None:
    sheets(tmp_path / "sheets", [scene()], examples())
    (file,) = (tmp_path / "sheets").iterdir()
    sheet = cv2.imread(str(file))
    assert sheet.shape == (TILE, 16 * TILE, 3)
    assert [bool(sheet[:, i * TILE : (i + 1) * TILE].any()) for i in range(3)] == [True, True, False]

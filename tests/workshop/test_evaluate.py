"""The measurements of the workshop against figures worked out by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import supervision as sv

from tests.workshop import Pixels, leave, missing

if reason := missing("sklearn", "matplotlib"):
    leave(reason)

from edge_app.errors import UsageError
from edge_app.vision.crops import crop_face
from export.classifier import evaluate as evaluate_classifier
from export.classifier import plots as classifier_plots
from export.classifier.evaluate import Crops, bounds, expected_calibration_error, fit_temperature, report
from export.common import timing
from export.common.engines import LOWEST_SCORE
from export.detector import evaluate as evaluate_detector
from export.detector.evaluate import Picture, Result, evaluate, inside, matches

Rows = npt.NDArray[np.float32]


def boxes(*rows: tuple[float, ...]) -> Rows:
    return np.array(rows, np.float32).reshape(-1, 4)


def engine(*found: tuple[float, float, float, float, float]) -> Callable[[Pixels], Rows]:
    """A detector that sees the same x0, y0, x1, y1, score in every picture, in pixels of the 640x480 original."""

    def see(image: Pixels) -> Rows:
        scale = image.shape[1] / 640
        rows = np.zeros((len(found), 15), np.float32)
        for row, (x0, y0, x1, y1, score) in zip(rows, found, strict=True):
            row[:4] = np.array([x0, y0, x1 - x0, y1 - y0]) * scale
            row[14] = score
        return rows

    return see


class TestDetectorMatching:
    FACE = boxes((100, 100, 200, 200))

    @pytest.mark.parametrize(
        ("box", "expected"),
        [
            ((100, 100, 200, 200), True),
            ((100, 100, 200, 131), True),  # IoU 0.31
            ((154, 100, 254, 200), False),  # IoU 46 / 154 = 0.2987
            ((153, 100, 253, 200), True),  # IoU 47 / 153 = 0.307
            ((120, 120, 160, 160), True),  # 16 % of the face, wholly inside
            ((120, 120, 154, 154), False),  # 11.6 %: too small a part
            ((172, 120, 212, 160), False),  # 70 % of it lies inside
            ((169, 120, 209, 160), True),  # 77.5 %
            ((300, 300, 400, 400), False),
        ],
    )
    def test_rule(self, box: tuple[float, ...], expected: bool) -> None:
        assert matches(boxes(box), self.FACE).tolist() == [[expected]]

    def test_share_inside(self) -> None:
        assert inside(boxes((150, 100, 250, 200), (0, 0, 50, 50)), self.FACE).tolist() == [[0.5], [0.0]]


class TestDetectorProtocol:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        cv2.imwrite(str(tmp_path / "a.png"), np.zeros((480, 640, 3), np.uint8))
        return tmp_path / "a.png"

    def one(self, file: Path, labelled: Rows, ignored: Rows | None = None) -> list[Picture]:
        return [Picture(file, labelled, ["mask"] * len(labelled), boxes() if ignored is None else ignored)]

    @pytest.mark.parametrize("long_side", [320, 640, 960])
    def test_found_missed_and_false(self, file: Path, long_side: int) -> None:
        see = engine((20, 20, 60, 60, 0.5), (100, 100, 200, 200, 0.9), (102, 100, 202, 200, 0.8))
        result = evaluate(see, self.one(file, boxes((100, 100, 200, 200), (400, 300, 440, 340))), long_side)
        assert result.scores.tolist() == pytest.approx([0.9, -1])
        assert result.false.tolist() == pytest.approx([0.5])  # the second box on one face is no false positive
        assert (result.images, result.labels, result.sizes) == (1, ["mask", "mask"], ["L", "M"])
        assert len(result.milliseconds) == 1

    def test_two_faces_close_together_each_take_the_box_that_fits(self, file: Path) -> None:
        see = engine((110, 100, 210, 200, 0.9), (140, 100, 240, 200, 0.7))
        result = evaluate(see, self.one(file, boxes((140, 100, 240, 200), (110, 100, 210, 200))), 640)
        assert result.scores.tolist() == pytest.approx([0.7, 0.9])

    def test_ignored_regions_count_neither_way(self, file: Path) -> None:
        see = engine((300, 100, 340, 140, 0.9), (310, 200, 350, 240, 0.8), (360, 100, 400, 140, 0.7))
        ignored = boxes((290, 90, 350, 300))  # the second lies in it; the third beside it
        result = evaluate(see, self.one(file, boxes(), ignored), 640)
        assert result.false.tolist() == pytest.approx([0.7])
        assert len(result.scores) == 0

    def test_faces_and_detections_under_16_pixels_are_left_out(self, file: Path) -> None:
        see = engine((10, 10, 25, 25, 0.9), (50, 50, 67, 67, 0.8), (100, 100, 115, 115, 0.7))
        result = evaluate(see, self.one(file, boxes((100, 100, 115, 115), (200, 200, 216, 216))), 640)
        assert result.scores.tolist() == [-1]
        assert result.false.tolist() == pytest.approx([0.8])

    def test_nothing_seen(self, file: Path) -> None:
        result = evaluate(engine(), self.one(file, boxes((100, 100, 200, 200))), 640)
        assert (result.scores.tolist(), result.false.tolist(), result.average_precision()) == ([-1], [], 0)

    def test_a_listed_picture_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"gone\.png: missing or not a picture"):
            evaluate(engine(), self.one(tmp_path / "gone.png", boxes()), 640)

    def test_reading_coco(self, tmp_path: Path) -> None:
        notes = [
            {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]},
            {"image_id": 1, "category_id": 1, "bbox": [5, 5, 5, 5], "iscrowd": 1},
        ]
        coco = {
            "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
            "categories": [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}],
            "annotations": notes,
        }
        (tmp_path / "c.json").write_text(json.dumps(coco))
        first, second = evaluate_detector.read(tmp_path / "c.json", tmp_path / "images")
        assert (first.file, first.labels) == (tmp_path / "images" / "a.png", ["no_mask"])
        assert first.faces.tolist() == [[1, 2, 4, 6]]
        assert first.ignored.tolist() == [[5, 5, 10, 10]]
        assert (second.faces.shape, second.ignored.shape, second.labels) == ((0, 4), (0, 4), [])


class TestDetectorFigures:
    RESULT = Result(
        images=20,
        scores=np.array([0.95, 0.85, 0.4, -1, 0.75], np.float32),
        labels=["mask", "mask", "no_mask", "no_mask", "no_mask"],
        sizes=["L", "M", "M", "M", "L"],
        false=np.array([0.9, 0.8, 0.7, 0.3], np.float32),
    )

    def test_threshold_at_a_rate(self) -> None:
        for rate, expected, left in ((0.02, 0.9, 0), (0.05, 0.8, 1), (0.1, 0.7, 2), (0.5, LOWEST_SCORE, 4)):
            threshold = self.RESULT.threshold(rate)
            assert threshold == pytest.approx(expected)
            assert (self.RESULT.false > threshold).sum() == left <= rate * 20

    def test_recall_by_label_and_size(self) -> None:
        assert self.RESULT.recall("mask", 0.8) == (1.0, 2)
        assert self.RESULT.recall("mask", 0.9, "L") == (1.0, 1)
        assert self.RESULT.recall("no_mask", 0.7) == (pytest.approx(1 / 3), 3)
        assert self.RESULT.recall("no_mask", 0.02, "M") == (0.5, 2)
        assert self.RESULT.recall("incorrect_mask", 0.5)[1] == 0

    def test_average_precision(self) -> None:
        # Order: hit .9, miss .8, hit .6; of three faces one is missed. Precision 1, then 2/3 from there on.
        scores, false = np.array([0.9, 0.6, -1], np.float32), np.array([0.8], np.float32)
        result = Result(1, scores, ["mask"] * 3, ["L"] * 3, false)
        assert result.average_precision() == pytest.approx(1 / 3 + 2 / 3 / 3)
        assert Result(1, np.ones(2, np.float32), ["mask"] * 2, ["L"] * 2, false[:0]).average_precision() == 1

    def test_report(self) -> None:
        told = self.RESULT.report()
        assert (told["images"], told["faces"]) == (20, 5)
        row = told["at 0.1 false positives an image"]
        assert (row["threshold"], row["false positives an image"]) == (0.7, 0.1)
        assert row["no_mask"] == {"recall": 0.3333, "n": 3}
        assert row["mask 48 px up"] == {"recall": 1.0, "n": 1}
        assert "incorrect_mask" not in row


LABELS = np.array(["mask", "mask", "no_mask", "incorrect_mask", "no_mask"])
SCORES = np.array([0.9, 0.4, 0.1, 0.7, 0.2])


def crops(labels: npt.NDArray[np.str_]) -> Crops:
    n = len(labels)
    return Crops(np.zeros((n, 112, 112, 3), np.uint8), labels, np.array(["a", "b"] * n)[:n], np.linspace(20, 80, n))


class TestClassifierReport:
    def test_against_hand_worked_figures(self) -> None:
        told = report(crops(LABELS), SCORES)
        assert (told["n"], told["accuracy"]) == (5, 0.6)
        assert told["roc_auc"] == 0.8333  # of the six pairs only mask .4 under incorrect .7 stands wrong
        assert told["mask"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 2}
        assert told["no_mask"] == {"precision": 0.6667, "recall": 0.6667, "f1": 0.6667, "n": 3}
        assert told["incorrect_mask flagged"] == {"share": 0.0, "n": 1}
        assert told["bare called mask"] == {"share": 0.0, "n": 2}
        assert told["confusion"] == {
            "mask": {"called mask": 1, "called no_mask": 1},
            "no_mask": {"called mask": 0, "called no_mask": 2},
            "incorrect_mask": {"called mask": 1, "called no_mask": 0},
        }
        assert (told["source a"]["accuracy"], told["source a"]["n"], told["source a"]["roc_auc"]) == (1.0, 3, 1.0)
        assert told["source a"]["no_mask"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 2}
        assert (told["source b"]["accuracy"], told["source b"]["n"], told["source b"]["ece"]) == (0.0, 2, 0.65)
        assert (told["width 20-32 px"]["accuracy"], told["width 20-32 px"]["roc_auc"]) == (1.0, None)
        assert told["width 64 px up"]["n"] == 2

    def test_one_class_alone_has_no_curve(self) -> None:
        told = report(crops(LABELS[:2]), SCORES[:2])
        assert told["roc_auc"] is None
        assert told["no_mask"]["n"] == 0

    def test_calibration_error(self) -> None:
        nine = np.full(4, 0.9)
        assert expected_calibration_error(nine, np.array([1.0, 1, 1, 0])) == pytest.approx(0.15)
        assert expected_calibration_error(1 - nine, np.array([0.0, 0, 0, 1])) == pytest.approx(0.15)
        assert expected_calibration_error(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
        mixed = np.array([0.9, 0.9, 0.6, 0.6])  # right 1.0 and 0.5: gaps 0.1 and 0.1
        assert expected_calibration_error(mixed, np.array([1.0, 1, 1, 0])) == pytest.approx(0.1)

    @pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
    def test_a_known_temperature_is_found(self, temperature: float) -> None:
        rng = np.random.default_rng(0)
        honest = rng.normal(0, 2, 40_000)
        truth = (rng.random(40_000) < 1 / (1 + np.exp(-honest))).astype(float)
        assert fit_temperature(honest * temperature, truth) == pytest.approx(temperature, rel=0.06)

    @pytest.mark.parametrize(
        ("bare", "masked", "expected"),
        [
            ([0.05] * 100, [0.95] * 100, {"mask": 0.6, "no_mask": 0.4}),
            ([0.05] * 95 + [0.8] * 5, [0.95] * 100, {"mask": 0.801, "no_mask": 0.4}),
            ([0.05] * 100, [0.95] * 95 + [0.2] * 5, {"mask": 0.6, "no_mask": 0.2}),
            ([0.99] * 100, [0.01] * 100, {"mask": 0.97, "no_mask": 0.1}),
            ([0.05] * 145 + [0.7, 0.75, 0.9, 0.95], [0.95] * 100, {"mask": 0.901, "no_mask": 0.4}),  # 1 of 149 is over
            ([], [], {"mask": 0.6, "no_mask": 0.4}),
        ],
    )
    def test_bounds(self, bare: list[float], masked: list[float], expected: dict[str, float]) -> None:
        labels = np.array(["no_mask"] * len(bare) + ["mask"] * len(masked), dtype=np.str_)
        assert bounds(np.array(bare + masked), labels) == expected

    def test_plots(self, tmp_path: Path) -> None:
        classifier_plots.plot(crops(LABELS), SCORES, tmp_path / "plots", {"mask": 0.89, "no_mask": 0.18})
        for name in ("confusion", "roc", "precision_recall", "reliability"):
            image = cv2.imread(str(tmp_path / "plots" / f"{name}.png"))
            assert image is not None
            assert image.std() > 5

    def test_one_class_alone_has_no_curves_but_the_other_plots(self, tmp_path: Path) -> None:
        classifier_plots.plot(crops(LABELS[:2]), SCORES[:2], tmp_path, {"mask": 0.89, "no_mask": 0.18})
        assert {file.name for file in tmp_path.iterdir()} == {"confusion.png", "reliability.png"}

    def test_the_sheet_of_mistakes_stays_out_of_any_repository(self, tmp_path: Path) -> None:
        file = tmp_path / "sheet" / "int8.png"
        assert classifier_plots.mistakes(crops(LABELS), SCORES, file) == 2
        image = cv2.imread(str(file))
        assert image is not None
        assert image.std() > 5
        assert (file.parent / ".gitignore").read_text() == "*\n"
        assert classifier_plots.mistakes(crops(LABELS[:1]), SCORES[:1], file) == 0
        assert not file.exists()


class TestReadingFaces:
    IMAGE = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)

    def test_coco(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "a.png"), self.IMAGE)
        notes = [
            {"image_id": 7, "category_id": 1, "bbox": [10, 10, 40, 50]},
            {"image_id": 7, "category_id": 2, "bbox": [60, 20, 19, 30]},  # under 20 px wide
            {"image_id": 7, "category_id": 2, "bbox": [60, 20, 30, 30], "iscrowd": 1},
            {"image_id": 7, "category_id": 3, "bbox": [60, 20, 30, 30]},
        ]
        coco = {
            "images": [{"id": 7, "file_name": "a.png", "source": "here"}],
            "categories": [{"id": 1, "name": "mask"}, {"id": 2, "name": "no_mask"}, {"id": 3, "name": "person"}],
            "annotations": notes,
        }
        (tmp_path / "c.json").write_text(json.dumps(coco))
        read = evaluate_classifier.read_coco(tmp_path / "c.json", tmp_path)
        assert (read.labels.tolist(), read.sources.tolist(), read.widths.tolist()) == (["mask"], ["here"], [40.0])
        assert read.files is not None
        assert read.files.tolist() == ["a.png"]
        assert np.array_equal(read.crops[0], crop_face(self.IMAGE, np.array([10, 10, 50, 60], np.float32)))

    def test_a_folder_gives_the_largest_face_of_each_photo(self, tmp_path: Path) -> None:
        for label in ("mask", "no_mask"):
            (tmp_path / label).mkdir()
            cv2.imwrite(str(tmp_path / label / f"set_{label}.png"), self.IMAGE)
        (tmp_path / "mask" / "broken.jpg").write_text("no picture")
        small, large = (0, 0, 20, 20), (30, 10, 90, 70)
        read = evaluate_classifier.read_folder(tmp_path, lambda image: sv.Detections(boxes(small, large)))
        assert (read.labels.tolist(), read.sources.tolist()) == (["mask", "no_mask"], ["set", "set"])
        assert np.array_equal(read.crops[1], crop_face(self.IMAGE, boxes(large)[0]))

    def test_no_face_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no labelled face"):
            evaluate_classifier.read_folder(tmp_path, lambda image: sv.Detections.empty())


def test_timed_calls_take_turns_and_the_median_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = [0.0]
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def call(name: str, seconds: float) -> None:
        order.append(name)
        now[0] += seconds if len(order) > 1 else 5.0  # one slow moment

    times = timing.in_turn({"a": lambda: call("a", 0.001), "b": lambda: call("b", 0.003)}, rounds=3)
    assert order == ["a", "b"] * 3
    assert times == {"a": 1.0, "b": 3.0}

"""Faces in, probabilities out, through a network whose every number is known: mask logit = 4 * mean red."""

import math
from pathlib import Path

import numpy as np
import pytest
import supervision as sv

from edge_app.config.settings import ClassifierSettings, VerdictSettings
from edge_app.errors import ModelError, UsageError
from edge_app.vision.classifier import DOUBT, MASK, NO_MASK, MaskClassifier, face_label
from tests.tiny_models import DETECTOR, WEIGHT, tiny_graph, write_folder

RED, BLUE, GREY = (0, 0, 255), (255, 0, 0), (127, 127, 128)


def opened(folder: Path) -> MaskClassifier:
    return MaskClassifier(ClassifierSettings(model=folder))


@pytest.fixture
def classifier(tmp_path: Path) -> MaskClassifier:
    return opened(write_folder(tmp_path, tiny_graph()))


def crops(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((112, 112, 3), colour, np.uint8) for colour in colours])


def sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def test_probabilities_are_the_softmax_of_the_logits(classifier: MaskClassifier) -> None:
    found = classifier.probabilities(crops(RED, BLUE, GREY))
    assert (found.shape, found.dtype.name) == ((3,), "float32")
    logit = 2 * WEIGHT  # mask minus no_mask
    assert found == pytest.approx([sigmoid(logit), sigmoid(-logit), sigmoid(logit * 0.5 / 127.5)], abs=1e-5)


def test_the_temperature_softens(tmp_path: Path) -> None:
    found = opened(write_folder(tmp_path, tiny_graph(), temperature=4.0)).probabilities(crops(RED, BLUE))
    assert found == pytest.approx([sigmoid(WEIGHT / 2), sigmoid(-WEIGHT / 2)], abs=1e-5)


def test_huge_logits_do_not_overflow(tmp_path: Path) -> None:
    found = opened(write_folder(tmp_path, tiny_graph(), temperature=1e-6)).probabilities(crops(RED, BLUE))
    assert found == pytest.approx([1.0, 0.0])


def test_no_crop_gives_no_probability(classifier: MaskClassifier) -> None:
    found = classifier.probabilities(np.zeros((0, 112, 112, 3), np.uint8))
    assert (found.shape, found.dtype.name) == ((0,), "float32")


def test_a_doubtful_face_is_looked_at_from_both_sides(tmp_path: Path) -> None:
    """The network sees the left half, each right half is grey: a red one is sure, one of little red is not."""
    found = crops(RED, GREY, (127, 127, 176))
    found[:, :, 56:] = GREY
    sure, even, doubtful = opened(write_folder(tmp_path, tiny_graph(half=True))).probabilities(found)
    left, right = 2 * WEIGHT * (176 - 127.5) / 127.5, 2 * WEIGHT * 0.5 / 127.5
    assert sure == pytest.approx(sigmoid(2 * WEIGHT), abs=1e-5)
    assert even == pytest.approx(sigmoid(right), abs=1e-5)
    assert left < DOUBT
    assert doubtful == pytest.approx(sigmoid((left + right) / 2), abs=1e-5)


def test_each_face_gets_its_own_probability_and_class(classifier: MaskClassifier) -> None:
    image = np.full((200, 400, 3), BLUE, np.uint8)
    image[:, 200:] = RED
    before = image.copy()
    boxes = np.array([[260, 60, 320, 120], [40, 60, 100, 120]], np.float32)
    detections = sv.Detections(xyxy=boxes, confidence=np.ones(2, np.float32), class_id=np.full(2, -1))
    classifier.classify(image, detections)
    assert detections.class_id is not None
    assert detections.class_id.tolist() == [MASK, NO_MASK]
    assert np.issubdtype(detections.class_id.dtype, np.integer)
    assert detections.data["mask_probability"] == pytest.approx([sigmoid(8), sigmoid(-8)], abs=1e-5)
    assert np.array_equal(detections.xyxy, boxes)
    assert np.array_equal(image, before)


def test_a_frame_without_faces_gets_the_columns(classifier: MaskClassifier) -> None:
    detections = sv.Detections(np.zeros((0, 4), np.float32), confidence=np.zeros(0, np.float32))
    classifier.classify(np.zeros((50, 50, 3), np.uint8), detections)
    assert detections.class_id is not None
    probability = np.asarray(detections.data["mask_probability"])
    assert (len(detections.class_id), probability.shape, probability.dtype.name) == (0, (0,), "float32")
    assert np.issubdtype(detections.class_id.dtype, np.integer)


def test_thresholds_come_from_the_manifest(tmp_path: Path) -> None:
    found = opened(write_folder(tmp_path, tiny_graph(), thresholds={"mask": 0.9, "no_mask": 0.25}))
    assert (found.mask_threshold, found.no_mask_threshold) == (0.9, 0.25)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (DETECTOR, r"a face_detection model; classifier\.model needs mask_classification"),
        ({"task": "face_detection"}, "a face_detection model has the labels face, in this order"),
        ({"labels": ["no_mask", "mask"]}, "labels mask, no_mask"),
        ({"labels": ["mask", "no_mask", "beard"]}, "labels mask, no_mask"),
        ({"thresholds": {"mask": 0.8}}, "no 'no_mask' threshold"),
        ({"thresholds": {}}, "no 'mask' threshold"),
    ],
)
def test_a_model_for_something_else_is_refused(tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        opened(write_folder(tmp_path, tiny_graph(), **change))


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_an_error_and_no_probability(tmp_path: Path, weight: float) -> None:
    with pytest.raises(ModelError, match=r"\(onnxruntime gives logits with values that are not finite\)"):
        opened(write_folder(tmp_path, tiny_graph(weight=weight)))


def test_log_odds_that_overflow_are_an_error_and_no_probability(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gives logits that are not finite"):  # of the trial's noise they are finite
        opened(write_folder(tmp_path, tiny_graph(weight=3e38)))


def test_an_unknown_provider_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tiny_graph())
    with pytest.raises(ModelError, match=r"NoSuchProvider.*CPUExecutionProvider"):
        MaskClassifier(ClassifierSettings(model=folder, provider="NoSuchProvider"))


def test_a_precision_the_model_does_not_have(tmp_path: Path) -> None:
    import hashlib

    payload = tiny_graph()
    only = {"file": "model.onnx", "sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}
    folder = write_folder(tmp_path, payload, files={"fp32": only})
    with pytest.raises(ModelError, match="no 'int8' file; this model has: fp32"):
        opened(folder)


class TestBounds:
    """The tiny model's own band is in its manifest; settings may replace one side or both."""

    def test_come_from_the_manifest(self, classifier: MaskClassifier) -> None:
        assert classifier.bounds(VerdictSettings()) == (classifier.mask_threshold, classifier.no_mask_threshold)

    def test_a_setting_wins(self, classifier: MaskClassifier) -> None:
        assert classifier.bounds(VerdictSettings(mask_threshold=0.97))[0] == 0.97

    def test_one_beyond_the_other_is_refused(self, classifier: MaskClassifier) -> None:
        with pytest.raises(UsageError, match="exceeds mask_threshold 0"):
            classifier.bounds(VerdictSettings(mask_threshold=0.0))


@pytest.mark.parametrize(
    ("probability", "quality", "label"),
    [
        (0.7, 1.0, "mask"),
        (0.69, 1.0, "unsure"),
        (0.31, 1.0, "unsure"),
        (0.3, 1.0, "no_mask"),
        (0.99, 0.2, "mask"),
        (0.99, 0.0, "unsure"),
        (0.01, 0.0, "unsure"),
    ],
)
def test_a_face_is_called_by_the_thresholds_and_unsure_without_quality(
    probability: float, quality: float, label: str
) -> None:
    assert face_label(probability, 0.7, 0.3, quality) == label

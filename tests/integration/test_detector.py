"""From the network's rows to faces in pixels of the frame; the network itself is tested on pixels elsewhere."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.config.settings import DetectorSettings
from edge_app.errors import ModelError
from edge_app.inference.manifest import Manifest
from edge_app.inference.model import Model, open_session
from edge_app.planes import shrink
from edge_app.vision.detector import FaceDetector, OnnxRuntimeEngine, open_detector, score_threshold
from tests.media import Pixels
from tests.tiny_models import DETECTOR, manifest, tiny_detector, tiny_graph, write_folder

Row = tuple[float, float, float, float, float]  # x, y, w, h, score


class Network:
    """Stands behind the detector: notes what it was given, and answers with fixed rows."""

    def __init__(self, *rows: Row) -> None:
        self.seen: list[Pixels] = []
        self._rows = np.zeros((len(rows), 15), np.float32)
        for target, (x, y, w, h, score) in zip(self._rows, rows, strict=True):
            points = [(x + w * a, y + h * b) for a, b in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))]
            target[:] = [x, y, w, h, *np.ravel(points), score]

    def __call__(self, image: Pixels) -> np.ndarray:
        self.seen.append(image)
        return self._rows.copy()


def picture(height: int, width: int) -> Pixels:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("frame", "given"),
    [
        ((720, 1280), (180, 320)),
        ((1280, 720), (320, 180)),
        ((320, 320), (320, 320)),
        ((100, 200), (100, 200)),  # small frames are not enlarged
        ((5, 4000), (1, 320)),
    ],
)
def test_the_frame_is_shrunk_to_the_input_size(frame: tuple[int, int], given: tuple[int, int]) -> None:
    network = Network()
    FaceDetector(network, 320, 16).detect(picture(*frame))
    assert [image.shape for image in network.seen] == [(*given, 3)]


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (960, 540)])
def test_shrinking_is_averaging(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (54, 96, 3), np.uint8)
    frame = np.asarray(cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC), np.uint8)
    exact = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(shrink(frame, size) - exact).mean() < 1
    noise = rng.integers(0, 256, (1080, 1920, 1), np.uint8)
    assert shrink(noise, size).std() < 0.6 * noise.std()  # picking single pixels would keep all of it


def test_boxes_and_landmarks_come_back_in_pixels_of_the_frame() -> None:
    found = FaceDetector(Network((40, 20, 30, 36, 0.9)), 320, 16).detect(picture(720, 1280))
    assert found.xyxy.tolist() == [[160, 80, 280, 224]]
    landmarks = np.asarray(found.data["landmarks"])
    assert landmarks[0, 2] == pytest.approx((160 + 60, 80 + 0.6 * 144), abs=1e-3)
    assert (found.xyxy.dtype.name, landmarks.dtype.name) == ("float32", "float32")


def test_each_axis_has_its_own_scale() -> None:
    # 1000x333 becomes 320x107: 3.125 across, 3.112 down.
    found = FaceDetector(Network((10, 10, 40, 40, 0.9)), 320, 16).detect(picture(333, 1000))
    assert found.xyxy[0] == pytest.approx(np.array([10, 10, 50, 50]) * np.tile([1000 / 320, 333 / 107], 2), rel=1e-5)


def test_the_best_score_comes_first() -> None:
    rows = [(10, 10, 30, 30, 0.6), (60, 10, 30, 30, 0.9), (110, 10, 30, 30, 0.7)]
    found = FaceDetector(Network(*rows), 320, 16).detect(picture(320, 320))
    assert found.confidence == pytest.approx([0.9, 0.7, 0.6])
    assert found.xyxy[:, 0].tolist() == [60, 110, 10]
    assert np.asarray(found.data["landmarks"])[:, 0, 0] == pytest.approx([69, 119, 19])


def test_small_faces_are_dropped_by_their_width_in_the_frame() -> None:
    rows = [(10, 10, 15, 60, 0.9), (60, 10, 16, 20, 0.8), (110, 10, 17, 20, 0.7)]
    network = Network(*rows)
    assert FaceDetector(network, 320, 16).detect(picture(320, 320)).confidence == pytest.approx([0.8, 0.7])
    assert len(FaceDetector(network, 320, 16).detect(picture(640, 640))) == 3  # twice as wide there
    assert len(FaceDetector(network, 320, 200).detect(picture(320, 320))) == 0


def test_faces_over_the_border_end_at_it() -> None:
    rows = [(-20, -30, 60, 70, 0.9), (290, 300, 80, 80, 0.8), (-90, 10, 60, 60, 0.7), (10, 500, 60, 60, 0.6)]
    found = FaceDetector(Network(*rows), 320, 16).detect(picture(320, 320))
    assert found.xyxy.tolist() == [[0, 0, 40, 40], [290, 300, 320, 320]]  # those wholly outside are none


def test_rows_that_are_no_numbers_are_dropped() -> None:
    rows = [(10, 10, math.nan, 30, 0.9), (60, 10, 30, math.inf, 0.8), (110, 10, 30, 30, 0.7)]
    found = FaceDetector(Network(*rows), 320, 16).detect(picture(320, 320))
    assert found.confidence == pytest.approx([0.7])


def test_an_engine_that_fails_on_a_frame_is_a_fault_of_the_model() -> None:
    def fails(_image: Pixels) -> np.ndarray:
        raise RuntimeError("no such axis\nand more")

    detector = FaceDetector(fails, 320, 16, "tiny: this engine")
    with pytest.raises(ModelError, match=r"^tiny: this engine cannot run this detector \(no such axis\): restore"):
        detector.detect(picture(320, 320))


@pytest.mark.parametrize("score", [0.7, math.nan])
def test_scores_that_turn_into_no_numbers_at_run_time_are_told(score: float) -> None:
    network = tiny_detector(score=score)
    engine = OnnxRuntimeEngine(open_session(network).get_inputs()[0], network, 0.5, 0.3, 1)
    detector = FaceDetector(engine, 320, 16)
    if score == 0.7:
        assert len(detector.detect(picture(96, 96)))
        return
    with pytest.raises(ModelError, match="scores are not finite"):
        detector.detect(picture(96, 96))


def test_without_faces_the_columns_are_the_same() -> None:
    some = FaceDetector(Network((10, 10, 30, 30, 0.9)), 320, 16).detect(picture(320, 320))
    none = FaceDetector(Network(), 320, 16).detect(picture(320, 320))
    assert (len(some), len(none)) == (1, 0)
    assert some.data.keys() == none.data.keys()
    for a, b in (
        (some.xyxy, none.xyxy),
        (some.confidence, none.confidence),
        (some.class_id, none.class_id),
        (some.data["landmarks"], none.data["landmarks"]),
    ):
        assert isinstance(a, np.ndarray)
        assert isinstance(b, np.ndarray)
        assert (a.dtype, a.shape[1:]) == (b.dtype, b.shape[1:])


class TestScoreThreshold:
    @pytest.mark.parametrize(
        ("input_size", "expected"),
        [(96, 0.7), (320, 0.7), (440, 0.7), (460, 0.8), (640, 0.8), (900, 0.8), (910, 0.9), (2048, 0.9)],
    )
    def test_that_of_the_nearest_ratio(self, input_size: int, expected: float) -> None:
        thresholds = {"score@640": 0.8, "score@320": 0.7, "score@1280": 0.9}
        told = Manifest.model_validate(manifest(b"", **DETECTOR | {"thresholds": thresholds}))
        assert score_threshold(told, input_size) == expected

    def test_none_measured(self) -> None:
        told = Manifest.model_validate(manifest(b"", **DETECTOR | {"thresholds": {}}))
        with pytest.raises(ModelError, match=r"detector\.score_threshold"):
            score_threshold(told, 320)


class TestOpening:
    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_a_missing_folder(self, tmp_path: Path, engine: str) -> None:
        with pytest.raises(ModelError, match="no such file"):
            open_detector(DetectorSettings.model_validate({"model": tmp_path / "none", "engine": engine}))

    def test_a_model_of_another_task(self, tmp_path: Path) -> None:
        folder = write_folder(tmp_path, b"")
        with pytest.raises(ModelError, match=r"a mask_classification model; .* needs face_detection"):
            open_detector(DetectorSettings(model=folder))

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_a_file_that_is_no_network(self, tmp_path: Path, engine: str) -> None:
        folder = write_folder(tmp_path, b"not a network", **DETECTOR)
        with pytest.raises(ModelError, match="cannot load it"):
            open_detector(DetectorSettings.model_validate({"model": folder, "engine": engine}))

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_a_network_that_is_no_face_detector(self, tmp_path: Path, engine: str) -> None:
        folder = write_folder(tmp_path, tiny_graph(size=320), **DETECTOR)
        with pytest.raises(ModelError, match=r"model\.onnx: tensor logits differs from the manifest's cls_8"):
            open_detector(DetectorSettings.model_validate({"model": folder, "engine": engine}))

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_outputs_of_other_shapes_than_those_declared(self, tmp_path: Path, engine: str) -> None:
        folder = write_folder(tmp_path, tiny_detector(values=1), **DETECTOR)
        with pytest.raises(ModelError, match=r"cannot load it and run it \(onnxruntime gives kps_8 as \[1, 1600, 11\]"):
            open_detector(DetectorSettings.model_validate({"model": folder, "engine": engine}))

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_a_detector_of_ones_own(self, tmp_path: Path, engine: str) -> None:
        folder = write_folder(tmp_path, tiny_detector(score=0.7), **DETECTOR)
        detector = open_detector(DetectorSettings.model_validate({"model": folder, "engine": engine}))
        found = detector.detect(picture(100, 200))
        assert found.confidence == pytest.approx(np.full(len(found), 0.7))
        assert len(found) > 3

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_scores_that_are_no_numbers(self, tmp_path: Path, engine: str) -> None:
        folder = write_folder(tmp_path, tiny_detector(score=math.nan), **DETECTOR)
        with pytest.raises(ModelError, match=r"onnxruntime gives cls_8 with values that are not finite"):
            open_detector(DetectorSettings.model_validate({"model": folder, "engine": engine}))

    @pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
    def test_an_altered_file(self, tmp_path: Path, engine: str, models: Path) -> None:
        manifest_text = (models / "face_detector" / "manifest.json").read_text()
        file = Model(models / "face_detector").file("fp32")
        payload = bytearray(file.read_bytes())
        payload[len(payload) // 2] ^= 1
        (tmp_path / "manifest.json").write_text(manifest_text)
        (tmp_path / file.name).write_bytes(payload)
        with pytest.raises(ModelError, match="SHA-256"):
            open_detector(DetectorSettings.model_validate({"model": tmp_path, "engine": engine}))

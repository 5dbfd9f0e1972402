"""The default models on real pixels: the portrait bare and masked, the demo film, and frames nobody likes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import supervision as sv

from edge_app.capture import demo
from edge_app.capture.images import to_bgr
from edge_app.config.settings import ClassifierSettings, DetectorSettings
from edge_app.vision.classifier import MASK, NO_MASK, MaskClassifier
from edge_app.vision.crops import crop_faces
from edge_app.vision.detector import FaceDetector, open_detector
from export.common.engines import open_engine
from tests.media import Pixels

FACE = np.array([180, 60, 264, 190])  # about where the portrait's face is, in the whole photograph


@pytest.fixture(scope="module")
def detector(models: Path) -> FaceDetector:
    return open_detector(DetectorSettings())


@pytest.fixture(scope="module", params=["int8", "fp32"])
def classifier(models: Path, request: pytest.FixtureRequest) -> MaskClassifier:
    return MaskClassifier(ClassifierSettings(precision=request.param))


@pytest.fixture(scope="module")
def film(astronaut: Pixels) -> list[Pixels]:
    """Nine frames of the demo film: small and large faces, bare and masked."""
    source = demo.DemoSource()
    return [source.render(index) for index in range(10, demo.FRAMES, 60)]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(sv.box_iou_batch(a[None], b[None])[0, 0])


def with_engine(engine: str, size: int, score: float = 0.5) -> FaceDetector:
    given = {"engine": engine, "input_size": size, "score_threshold": score}
    return open_detector(DetectorSettings.model_validate(given))


class TestPortrait:
    @pytest.mark.parametrize("size", [256, 320, 512])
    def test_the_face_is_found(self, models: Path, astronaut: Pixels, masked: Pixels, size: int) -> None:
        detector = open_detector(DetectorSettings(input_size=size))
        for image in (astronaut, masked):
            found = detector.detect(image)
            assert overlap(found.xyxy[0], FACE) > 0.5  # the best comes first

    def test_the_verdict_follows_the_mask(
        self, detector: FaceDetector, classifier: MaskClassifier, astronaut: Pixels, masked: Pixels
    ) -> None:
        for image, expected in ((astronaut, NO_MASK), (masked, MASK)):
            found = detector.detect(image)
            classifier.classify(image, found)
            assert found.class_id is not None
            assert found.class_id[0] == expected
            sure = classifier.mask_threshold if expected == MASK else 1 - classifier.no_mask_threshold
            probability = float(found.data["mask_probability"][0])
            assert (probability if expected == MASK else 1 - probability) >= sure

    def test_a_mirrored_picture_gives_the_mirrored_box(self, detector: FaceDetector, astronaut: Pixels) -> None:
        (x0, y0, x1, y1) = detector.detect(astronaut).xyxy[0]
        mirrored = detector.detect(np.ascontiguousarray(astronaut[:, ::-1])).xyxy[0]
        assert overlap(mirrored, np.array([512 - x1, y0, 512 - x0, y1])) > 0.75

    def test_inputs_are_left_alone(self, detector: FaceDetector, classifier: MaskClassifier, astronaut: Pixels) -> None:
        image = astronaut.copy()
        found = detector.detect(image)
        boxes = found.xyxy.copy()
        classifier.classify(image, found)
        assert np.array_equal(image, astronaut)
        assert np.array_equal(found.xyxy, boxes)

    def test_a_batch_judges_as_single_faces_do(
        self, detector: FaceDetector, classifier: MaskClassifier, astronaut: Pixels, masked: Pixels
    ) -> None:
        box = detector.detect(astronaut).xyxy[0]
        boxes = np.stack([box + shift for shift in (-12, 0, 12)])
        crops = np.concatenate([crop_faces(astronaut, boxes), crop_faces(masked, boxes)])
        together = classifier.probabilities(crops)
        alone = [float(classifier.probabilities(crop[None])[0]) for crop in crops]
        assert together == pytest.approx(alone, abs=1e-3)
        assert together[:3].max() < together[3:].min()


class TestEngines:
    # At 192 px three of the nine faces are 10 to 12 px wide, and score low.
    @pytest.mark.parametrize(("size", "score"), [(192, 0.2), (320, 0.5), (500, 0.5), (640, 0.5)])
    def test_opencv_and_onnxruntime_find_the_same(
        self, models: Path, film: list[Pixels], size: int, score: float
    ) -> None:
        one, other = with_engine("opencv", size, score), with_engine("onnxruntime", size, score)
        assert [self.compare(one.detect(image), other.detect(image), score + 0.02) for image in film] == [1] * 9

    def test_as_many_sizes_of_frames_as_one_likes(self, models: Path, film: list[Pixels]) -> None:
        one, other = with_engine("opencv", 320), with_engine("onnxruntime", 320)
        frame = np.zeros((320, 320, 3), np.uint8)
        frame[:180] = cv2.resize(film[0], (320, 180), interpolation=cv2.INTER_AREA)
        heights = [*range(32, 321, 32), 32, 320]  # more than stay open, and two of them again
        found = [self.compare(one.detect(frame[:height]), other.detect(frame[:height])) for height in heights]
        assert found[-1] == 1

    def test_crowds_too(self, models: Path, astronaut: Pixels) -> None:
        tile = cv2.resize(astronaut[:300, 60:380], (213, 200), interpolation=cv2.INTER_AREA)
        crowd = np.tile(np.asarray(tile, np.uint8), (4, 5, 1))
        assert (
            self.compare(with_engine("opencv", 640).detect(crowd), with_engine("onnxruntime", 640).detect(crowd)) >= 15
        )

    @staticmethod
    def compare(one: sv.Detections, other: sv.Detections, clear: float = 0.52) -> int:
        """Every face of one engine that scores over `clear` is in the other's within a pixel and 0.01; gives their
        number."""
        for a, b in ((one, other), (other, one)):
            assert a.confidence is not None
            assert b.confidence is not None
            for row in np.flatnonzero(a.confidence > clear):
                near = np.abs(b.xyxy - a.xyxy[row]).max(axis=1)
                twin = int(near.argmin())
                assert near[twin] <= 1
                assert abs(b.confidence[twin] - a.confidence[row]) <= 0.01
                assert np.abs(b.data["landmarks"][twin] - a.data["landmarks"][row]).max() <= 1
        assert one.confidence is not None
        return int((one.confidence > clear).sum())


class TestFilm:
    def test_the_face_is_found_and_judged_in_every_frame(
        self, detector: FaceDetector, classifier: MaskClassifier, film: list[Pixels]
    ) -> None:
        classes = []
        for image in film:
            found = detector.detect(image)
            assert len(found) == 1
            classifier.classify(image, found)
            assert found.class_id is not None
            classes.append(int(found.class_id[0]))
        parts = [index / demo.FRAMES for index in range(10, demo.FRAMES, 60)]
        assert classes == [MASK if demo.MASKED_FROM <= part < demo.MASKED_TO else NO_MASK for part in parts]


@pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
class TestOddFrames:
    def test_frame_sizes_may_change_at_any_time(self, models: Path, engine: str, astronaut: Pixels) -> None:
        sizes = [(512, 512), (720, 1280), (200, 333), (512, 512), (97, 301), (720, 1280)]
        used = with_engine(engine, 320)
        for height, width in sizes:
            image = np.asarray(cv2.resize(astronaut, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            after_others, afresh = used.detect(image), with_engine(engine, 320).detect(image)
            assert np.array_equal(after_others.xyxy, afresh.xyxy)
            assert np.array_equal(after_others.confidence, afresh.confidence)  # type: ignore[arg-type]

    @pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2000, 3), (33, 31), (1080, 1920)])
    def test_a_frame_without_faces_gives_the_same_columns(
        self, models: Path, engine: str, shape: tuple[int, int], astronaut: Pixels
    ) -> None:
        detector = with_engine(engine, 320)
        classifier = MaskClassifier(ClassifierSettings())
        some, image = detector.detect(astronaut), np.full((*shape, 3), 90, np.uint8)
        none = detector.detect(image)
        classifier.classify(astronaut, some)
        classifier.classify(image, none)
        assert len(some) >= 1
        assert len(none) == 0
        assert some.data.keys() == none.data.keys() == {"landmarks", "mask_probability"}
        columns = [(d.xyxy, d.confidence, d.class_id, *d.data.values()) for d in (some, none)]
        for a, b in zip(*columns, strict=True):
            assert isinstance(a, np.ndarray)
            assert isinstance(b, np.ndarray)
            assert (a.dtype, a.shape[1:]) == (b.dtype, b.shape[1:])

    def test_a_grey_picture_has_its_face(self, models: Path, engine: str, astronaut: Pixels) -> None:
        grey = cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY)
        for frame in (grey, grey[..., None]):
            found = with_engine(engine, 320).detect(to_bgr(frame))
            assert overlap(found.xyxy[0], FACE) > 0.5  # the best comes first

    def test_noise_gives_boxes_inside_the_picture_if_any(self, models: Path, engine: str) -> None:
        noise = np.random.default_rng(3).integers(0, 256, (240, 330, 3)).astype(np.uint8)
        found = with_engine(engine, 320, score=0.0).detect(noise)
        assert len(found) > 0  # at this threshold
        assert np.isfinite(found.xyxy).all()
        assert (found.xyxy >= 0).all()
        assert (found.xyxy <= [330, 240, 330, 240]).all()
        assert (found.xyxy[:, 2:] > found.xyxy[:, :2]).all()


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_face_at_the_border_is_found_and_judged(
    models: Path, detector: FaceDetector, astronaut: Pixels, masked: Pixels, side: str
) -> None:
    x0, y0, x1, y1 = FACE
    width, height = (x1 - x0) // 8, (y1 - y0) // 8  # an eighth of the face is cut off
    rows, columns = {
        "left": (slice(0, 300), slice(x0 + width, None)),
        "right": (slice(0, 300), slice(0, x1 - width)),
        "top": (slice(y0 + height, None), slice(None)),
        "bottom": (slice(0, y1 - height), slice(60, 400)),
    }[side]
    classifier = MaskClassifier(ClassifierSettings())
    probabilities = []
    for whole in (astronaut, masked):
        image = np.ascontiguousarray(whole[rows, columns])
        found = detector.detect(image)
        assert len(found) >= 1
        height, width = image.shape[:2]
        assert (found.xyxy >= 0).all()
        assert (found.xyxy <= [width, height, width, height]).all()
        classifier.classify(image, found)
        probabilities.append(float(found.data["mask_probability"][0]))
    assert probabilities[0] < probabilities[1]


@pytest.mark.parametrize("engine", ["opencv", "onnxruntime"])
def test_opencv_has_as_many_threads_as_the_detector(models: Path, engine: str) -> None:
    """Both engines scale and pad with it. The workshop's engines, which it times, get what it asks for."""
    before = cv2.getNumThreads()
    try:
        for threads in (3, 2):
            open_detector(DetectorSettings.model_validate({"engine": engine, "threads": threads}))
            assert cv2.getNumThreads() == threads
            open_engine(models / "face_detector", engine, threads + 2)
            assert cv2.getNumThreads() == threads + 2
    finally:
        cv2.setNumThreads(before)

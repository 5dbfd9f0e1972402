"""Frame in, faces out: `open_detector(settings).detect(image)` gives `sv.Detections` in pixels of the image.

The network has the tensor contract of `cv2.FaceDetectorYN` ('YuNet: A Tiny Millisecond-level Face Detector', Machine
Intelligence Research, 2023). Two engines run the same file with the same decoding: OpenCV's, and ONNX Runtime.
"""

import os
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.config.settings import DetectorSettings
from edge_app.errors import ModelError, first_line
from edge_app.inference.manifest import HEADS, REPAIR, STRIDES, Manifest
from edge_app.inference.model import Model, open_model, open_session
from edge_app.inference.ort import onnxruntime as ort
from edge_app.planes import Picture, Pixels, as_picture

Rows = npt.NDArray[np.float32]  # (n, 15): x, y, w, h, five landmarks x y, score; OpenCV's own layout

MOST_CANDIDATES = 5000  # boxes before non-maximum suppression (top-k); only noise reaches it
FRAME_SIZES = 8  # last ones that stay open; a camera has one, pictures have many


class Engine(Protocol):
    def __call__(self, image: Pixels) -> Rows:
        """uint8 (h, w, 3) BGR -> rows in pixels of that image."""
        ...


class OpenCvEngine:
    """`cv2.FaceDetectorYN` on the content of an ONNX file."""

    def __init__(self, network: bytes, score: float, iou: float) -> None:
        content, nothing = np.frombuffer(network, np.uint8), np.zeros(0, np.uint8)
        self._net = cv2.FaceDetectorYN.create("onnx", content, nothing, (320, 320), score, iou, MOST_CANDIDATES)
        self._size = (320, 320)

    def __call__(self, image: Pixels) -> Rows:
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            self._net.setInputSize(size)
            self._size = size
        rows = self._net.detect(image)[1]
        return np.zeros((0, 15), np.float32) if rows is None else np.asarray(rows, np.float32)


class OnnxRuntimeEngine:
    """A network of that contract under ONNX Runtime, decoded as OpenCV's `face_detect.cpp` does.

    Where a network's sizes are free, ONNX Runtime cannot merge all of its layers; so each size of frames gets a session
    of its own, which opens in about the time that one frame of 640 px takes.

    image: the network's input, as a session declares it. network: content of its ONNX file.
    """

    def __init__(self, image: ort.NodeArg, network: bytes, score: float, iou: float, threads: int) -> None:
        def open_for(size: tuple[int, int]) -> ort.InferenceSession:
            sizes = zip(image.shape[2:], size, strict=True)
            return open_session(network, threads, sizes={name: n for name, n in sizes if isinstance(name, str)})

        self._session_for = lru_cache(FRAME_SIZES)(open_for)
        self._input = image.name
        self._outputs = [f"{head}_{s}" for head in HEADS for s in STRIDES]
        self._score, self._iou = score, iou

    def __call__(self, image: Pixels) -> Rows:
        padded = pad(image)
        session = self._session_for(padded.shape[:2])
        found = session.run(self._outputs, {self._input: cv2.dnn.blobFromImage(padded)})
        with np.errstate(over="ignore", invalid="ignore"):  # of boxes without an end, which are left out
            rows: Rows = np.concatenate(
                [self._rows(found[level::3], s, padded.shape[1]) for level, s in enumerate(STRIDES)]
            )
        rows = rows[np.isfinite(rows).all(1)]
        if len(rows) < 2:
            return rows
        # NMS on boxes truncated to whole pixels, as in OpenCV, or the two engines would keep different ones.
        boxes = np.clip(rows[:, :4], -1e9, 1e9).astype(np.int32)
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), rows[:, 14].tolist(), self._score, self._iou, 1.0, MOST_CANDIDATES)
        return rows[np.asarray(kept, np.int64).reshape(-1)]

    def _rows(self, heads: list[npt.NDArray[np.float32]], stride: int, width: int) -> Rows:
        """Decode the anchor-free outputs of one stride above the score threshold, for a frame of that width."""
        cls, obj, bbox, kps = (head[0] for head in heads)
        score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        if np.isnan(score).any():
            raise ValueError("its scores are not finite")
        keep = np.flatnonzero(score >= self._score)
        columns = width // stride
        corner = np.stack([keep % columns, keep // columns], 1).astype(np.float32)
        size = np.exp(bbox[keep, 2:]) * stride
        centre = (corner + bbox[keep, :2]) * stride
        points = (kps[keep].reshape(-1, 5, 2) + corner[:, None]) * stride
        rows: Rows = np.hstack([centre - size / 2, size, points.reshape(-1, 10), score[keep, None]])
        return rows.astype(np.float32)


def opencv_engine(model: Model, score: float, iou: float, threads: int, size: int = 320) -> Engine:
    network = model.network("fp32", "opencv", size)
    try:
        return OpenCvEngine(network, score, iou)
    except cv2.error as error:
        raise ModelError(f"{model.file('fp32')}: OpenCV cannot load it ({error.err})", REPAIR) from None


def onnxruntime_engine(model: Model, score: float, iou: float, threads: int, size: int = 320) -> Engine:
    network = model.network("fp32", "onnxruntime", size)
    image = model.session("fp32").get_inputs()[0]
    return OnnxRuntimeEngine(image, network, score, iou, threads)


class OpenEngine(Protocol):
    def __call__(self, model: Model, score: float, iou: float, threads: int, size: int = 320) -> Engine:
        """threads: of an engine that has its own; OpenCV's are the process's. size: long side of the frames to come."""
        ...


ENGINES: dict[str, OpenEngine] = {
    "opencv": opencv_engine,
    "onnxruntime": onnxruntime_engine,
}


def pad(image: Pixels) -> Pixels:
    """uint8 (h, w, 3) with black below and to the right, so that both sides are multiples of the coarsest stride."""
    height, width = image.shape[:2]
    below, right = -height % STRIDES[-1], -width % STRIDES[-1]
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)


class FaceDetector:
    """Finds faces at one input size.

    Args:
        engine: runs the network.
        input_size: long side that a frame is scaled to, pixels; smaller frames are not enlarged.
        min_face_px: faces narrower than this in the frame are dropped.
        name: of the engine and its model, for errors.
    """

    def __init__(self, engine: Engine, input_size: int, min_face_px: int, name: str = "the engine") -> None:
        self._engine, self._input_size, self._min_face_px, self._name = engine, input_size, min_face_px, name

    def detect(self, image: Pixels | Picture) -> sv.Detections:
        """A picture, or uint8 (H, W, 3) BGR -> detections, best score first.

        Returns:
            xyxy float32 (n, 4) pixels inside the image, confidence float32 (n,), class_id int (n,) all -1 until
            classified, data["landmarks"] float32 (n, 5, 2) pixels: right eye, left eye, nose tip, right and left
            mouth corner. Without faces the columns are the same, with n = 0. metadata["too_small"] counts the faces
            dropped for `min_face_px`.

        Raises:
            ModelError: a network that the engine cannot run on this frame.
        """
        picture = as_picture(image)
        width, height = picture.width, picture.height
        scale = min(1.0, self._input_size / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = picture.shrunk(size) if scale < 1 else picture.bgr()
        try:
            rows = self._engine(small)
        except Exception as error:  # OpenCV and onnxruntime raise many unrelated types for a graph they cannot run
            raise ModelError(f"{self._name} cannot run this detector ({first_line(error)})", REPAIR) from None
        rows = rows[np.isfinite(rows).all(1)]
        ratio = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
        xyxy = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]) * np.tile(ratio, 2)
        xyxy = np.clip(xyxy, 0, [width, height, width, height]).astype(np.float32)
        big = (xyxy[:, 2] - xyxy[:, 0] >= self._min_face_px) & (xyxy[:, 3] > xyxy[:, 1])
        order = np.flatnonzero(big)[np.argsort(-rows[big, 14], kind="stable")]
        landmarks = rows[:, 4:14].reshape(-1, 5, 2) * ratio
        return sv.Detections(
            xyxy=xyxy[order],
            confidence=rows[order, 14],
            class_id=np.full(len(order), -1),
            data={"landmarks": landmarks[order].astype(np.float32)},
            metadata={"too_small": int((~big).sum())},
        )


def score_threshold(manifest: Manifest, input_size: int) -> float:
    """The manifest's threshold for the input size it was measured at that is nearest in ratio (`score@320`, …)."""
    measured = {int(k.removeprefix("score@")): v for k, v in manifest.thresholds.items() if k.startswith("score@")}
    if not measured:
        raise ModelError(f"{manifest.name}: the manifest has no `score@SIZE` threshold; set detector.score_threshold")
    return measured[min(measured, key=lambda size: abs(np.log(size / input_size)))]


def open_detector(settings: DetectorSettings) -> FaceDetector:
    """Open the detector model and run it once, so that the first frame does not pay for the start.

    Raises:
        ModelError: a model that is missing, altered, of another task, of an earlier stage, or that the engine
            cannot run.
    """
    model = open_model(settings.model, "face_detector", settings.stage)
    score = settings.score_threshold
    if score is None:
        score = score_threshold(model.manifest, settings.input_size)
    # Of the whole process: OpenCV scales and pads the frames for either engine, and need not say what it cannot do.
    cv2.setNumThreads(settings.threads)
    if not os.environ.get("OPENCV_LOG_LEVEL"):
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    engine = ENGINES[settings.engine](model, score, settings.iou_threshold, settings.threads, settings.input_size)
    name = f"{model.folder}: {settings.engine}"
    detector = FaceDetector(engine, settings.input_size, settings.min_face_px, name)
    detector.detect(np.zeros((settings.input_size, settings.input_size, 3), np.uint8))
    return detector

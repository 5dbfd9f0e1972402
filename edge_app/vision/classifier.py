"""Faces in, mask probabilities out: writes `class_id` and `data["mask_probability"]` into the detections."""

import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.config.settings import ClassifierSettings, VerdictSettings
from edge_app.errors import ModelError, UsageError, first_line
from edge_app.inference.manifest import REPAIR
from edge_app.inference.model import open_model
from edge_app.planes import Picture, Pixels
from edge_app.records import Label
from edge_app.vision.crops import crop_faces, to_network_input

MASK, NO_MASK = 0, 1  # class ids
# Test-time augmentation: a face with log-odds below this, 1.8 to 98.2 %, is doubtful: it is classified mirrored as well
# and gets the mean of both log-odds. One labelled face in six costs this second pass.
DOUBT = 4.0


class MaskClassifier:
    """The mask classifier under ONNX Runtime.

    mask_threshold, no_mask_threshold: bounds of the unsure band on the mask probability, from the manifest.

    Raises:
        ModelError: a model that is missing, altered, of an earlier stage, of another task or with other tensors, or no
            such provider.
    """

    def __init__(self, settings: ClassifierSettings) -> None:
        model = open_model(settings.model, "mask_classifier", settings.stage)
        manifest = model.manifest
        self._folder = model.folder
        self.mask_threshold = manifest.thresholds["mask"]
        self.no_mask_threshold = manifest.thresholds["no_mask"]
        self._temperature = manifest.temperature
        self._input = manifest.input.name
        self._size = int(manifest.input.shape[-1])
        self._session = model.session(settings.precision, settings.threads, settings.provider)
        self.probabilities(np.zeros((1, self._size, self._size, 3), np.uint8))

    def bounds(self, settings: VerdictSettings) -> tuple[float, float]:
        """The unsure band in force: mask_threshold and no_mask_threshold of the settings, else of the manifest.

        Raises:
            UsageError: one set alone that lies beyond the manifest's other.
        """
        high = self.mask_threshold if settings.mask_threshold is None else settings.mask_threshold
        low = self.no_mask_threshold if settings.no_mask_threshold is None else settings.no_mask_threshold
        if low > high:
            raise UsageError(
                f"verdict: no_mask_threshold {low:g} exceeds mask_threshold {high:g}; set both (the model's own are "
                f"{self.no_mask_threshold:g} and {self.mask_threshold:g})"
            )
        return high, low

    def probabilities(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """uint8 (n, S, S, 3) BGR crops -> mask probability float32 (n,): softmax of logits / temperature.

        Temperature scaling as in 'On Calibration of Modern Neural Networks' (1706.04599); doubtful faces get horizontal
        flip test-time augmentation, see `DOUBT`.

        Raises:
            ModelError: a network that cannot be run, or whose logits are not finite.
        """
        if len(crops) == 0:
            return np.zeros(0, np.float32)
        odds = self._odds(crops)
        doubtful = np.abs(odds) < DOUBT
        if doubtful.any():
            odds[doubtful] = (odds[doubtful] + self._odds(crops[doubtful][:, :, ::-1])) / 2
        return np.asarray(1 / (1 + np.exp(-np.clip(odds, -60, 60))), np.float32)

    def _odds(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Calibrated log-odds of mask against no_mask, float32 (n,)."""
        try:
            logits = self._session.run(None, {self._input: to_network_input(crops)})[0]
        except Exception as error:  # onnxruntime raises many unrelated types for a graph it cannot run
            raise ModelError(f"{self._folder}: onnxruntime cannot run this classifier ({first_line(error)})") from None
        with np.errstate(all="ignore"):
            logits = logits / self._temperature
            odds = np.asarray(logits[:, MASK] - logits[:, NO_MASK])
        if not np.isfinite(odds).all():
            raise ModelError(f"{self._folder}: this classifier gives logits that are not finite", REPAIR)
        return odds

    def classify(self, image: Pixels | Picture, detections: sv.Detections) -> npt.NDArray[np.uint8]:
        """Classify every face of a picture or uint8 (H, W, 3) BGR image in place; gives uint8 (n, S, S, 3) crops."""
        crops = crop_faces(image, np.asarray(detections.xyxy, np.float32), self._size)
        probability = self.probabilities(crops)
        detections.data["mask_probability"] = probability
        detections.class_id = class_ids(probability)
        return crops


def class_ids(mask_probability: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The class id of each mask probability, by argmax: int (n,)."""
    return np.where(mask_probability >= 0.5, MASK, NO_MASK)


def face_label(mask_probability: float, mask_threshold: float, no_mask_threshold: float, quality: float = 1.0) -> Label:
    """The label of a single face: mask, no_mask, or unsure between the thresholds or with quality 0."""
    if quality <= 0:
        return "unsure"
    if mask_probability >= mask_threshold:
        return "mask"
    return "no_mask" if mask_probability <= no_mask_threshold else "unsure"

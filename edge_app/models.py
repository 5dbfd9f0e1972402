"""Model folders: find one, check it against its manifest, open it with ONNX Runtime.

A model is a folder with `manifest.json` beside its ONNX files. The runtime refuses a file whose size, SHA-256 or
tensors differ from the manifest, because a wrong model gives wrong verdicts without any other sign.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, ValidationError

from edge_app.errors import ModelError, first_line

MANIFEST = "manifest.json"
ModelName = Literal["face_detector", "mask_classifier"]
Stage = Literal["beta", "gamma", "prod"]
STAGES: tuple[Stage, ...] = ("beta", "gamma", "prod")  # in the order that a model goes through them
_REPAIR = "restore the folder from the release, or export the model again with `python -m export`"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelFile(_Strict):
    """One precision of a model: file name inside the folder, lower-case hex SHA-256, size in bytes."""

    file: str
    sha256: str
    bytes: int


class Tensor(_Strict):
    """One tensor of the graph. A string in `shape` is a free dimension."""

    name: str
    shape: list[int | str]
    dtype: str = "float32"


class InputTensor(Tensor):
    """The input and how pixels become it: value = (pixel - mean) / scale, channels in `colour` order."""

    layout: Literal["NCHW"] = "NCHW"
    colour: Literal["BGR", "RGB"]
    mean: float = 0.0
    scale: float = 1.0
    crop_margin: float | None = None
    resize: str


class Step(_Strict):
    """One stage that a model has reached.

    time: ISO 8601, UTC. version, sha256 (precision -> hex): of which files. metrics: what was measured for it, on n
    labelled faces of `data`. approved: why it was let through although the measurement spoke against it.
    """

    stage: Stage
    time: str
    version: str
    sha256: dict[str, str]
    metrics: dict[str, Any]
    n: int
    data: str
    approved: str | None = None


class Manifest(_Strict):
    """What `manifest.json` holds. history: oldest first; that of the models it replaced comes before its own."""

    name: str
    version: str
    task: Literal["face_detection", "mask_classification"]
    stage: Stage = "prod"
    history: list[Step] = []
    files: dict[str, ModelFile]
    opset: int
    input: InputTensor
    outputs: list[Tensor]
    labels: list[str]
    thresholds: dict[str, float]
    temperature: float = 1.0
    metrics: dict[str, Any]
    training: dict[str, Any]


class Model:
    """A verified model folder.

    Args:
        folder: the folder that holds `manifest.json`.

    Raises:
        ModelError: no folder, no manifest, or a manifest that does not fit the schema.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        try:
            self.manifest = Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file; expected a model folder with a {MANIFEST}: {_REPAIR}") from None
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}): check the path and its permissions") from None
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise ModelError(f"{path}: not valid JSON: {_REPAIR}") from None
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise ModelError(f"{path}: {where}: {error.errors()[0]['msg']}: {_REPAIR}") from None

    def file(self, precision: str) -> Path:
        """Path of the ONNX file of that precision, once its size and SHA-256 have been checked.

        Raises:
            ModelError: an unknown precision, or a file that is missing or not the one in the manifest.
        """
        if precision not in self.manifest.files:
            known = ", ".join(sorted(self.manifest.files))
            raise ModelError(f"{self.folder / MANIFEST}: no {precision!r} file; this model has: {known}")
        entry = self.manifest.files[precision]
        path = self.folder / entry.file
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                raise ModelError(f"{path}: {size} bytes, expected {entry.bytes}: {_REPAIR}")
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror}): {_REPAIR}") from None
        if digest != entry.sha256:
            raise ModelError(f"{path}: SHA-256 {digest[:12]}…, expected {entry.sha256[:12]}…: {_REPAIR}")
        return path

    def session(self, precision: str, threads: int = 1, provider: str = "CPUExecutionProvider") -> ort.InferenceSession:
        """Open the ONNX file with `threads` intra-op threads and check its tensors against the manifest.

        Raises:
            ModelError: provider not available, file not loadable, or tensors that differ from the manifest.
        """
        path = self.file(precision)
        available = ort.get_available_providers()
        if provider not in available:
            raise ModelError(
                f"onnxruntime provider {provider!r} is not available here; available: {', '.join(available)}"
                " (set classifier.provider, or install the onnxruntime build that has it)"
            )
        try:
            session = open_session(str(path), threads, provider)
        except Exception as error:  # onnxruntime raises many unrelated types here
            raise ModelError(f"{path}: onnxruntime cannot load it ({first_line(error)}): {_REPAIR}") from None
        self._check_tensors(path, session)
        return session

    def _check_tensors(self, path: Path, session: ort.InferenceSession) -> None:
        expected = [(t.name, len(t.shape), _fixed(t.shape)) for t in [self.manifest.input, *self.manifest.outputs]]
        found = [(t.name, len(t.shape), _fixed(t.shape)) for t in [*session.get_inputs(), *session.get_outputs()]]
        for want, got in zip(expected, found, strict=False):
            same_dims = all(got[2].get(axis, size) == size for axis, size in want[2].items())
            if want[:2] != got[:2] or not same_dims:
                raise ModelError(f"{path}: tensor {got[0]} differs from the manifest's {want[0]}: {_REPAIR}")
        if len(expected) != len(found):
            raise ModelError(f"{path}: {len(found)} tensors, the manifest has {len(expected)}: {_REPAIR}")


def open_session(
    network: str | bytes,
    threads: int = 1,
    provider: str = "CPUExecutionProvider",
    sizes: Mapping[str, int] | None = None,
) -> ort.InferenceSession:
    """An ONNX network, a file's path or its content, with `threads` intra-op threads.

    sizes: of free dimensions, by the names that the network gives them; others stay free.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads burn a whole core while they wait, which the other stages need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for dimension, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(dimension, size)
    return ort.InferenceSession(network, options, providers=[provider])


def open_model(folder: Path | None, name: ModelName, stage: Stage) -> Model:
    """The model folder that a setting names, or the default one, if its stage may run.

    Args:
        folder: `detector.model` or `classifier.model`. name: which default model stands in for None.
        stage: `detector.stage` or `classifier.stage`, the earliest stage that may run.

    Raises:
        ModelError: as `Model`, or a model of an earlier stage.
    """
    model = Model(folder or models_dir() / name)
    found = model.manifest.stage
    if STAGES.index(found) < STAGES.index(stage):
        section = name.rpartition("_")[2]
        advice = "promote it with `python -m export promote`, or " if section == "classifier" else ""
        raise ModelError(
            f"{model.folder / MANIFEST}: its stage is {found}, only {stage} may run here: {advice}set {section}.stage "
            f"to {found} if you mean to run it"
        )
    return model


def _fixed(shape: list[int | str]) -> dict[int, int]:
    return {axis: size for axis, size in enumerate(shape) if isinstance(size, int)}


@cache
def models_dir() -> Path:
    """Folder of the default models: `EDGE_APP_MODELS`, else the checkout's, else the one inside the wheel."""
    if override := os.environ.get("EDGE_APP_MODELS"):
        return Path(override)
    package = Path(__file__).parent
    inside = package / "_models"
    return inside if inside.is_dir() else package.parent / "models"

"""Model folders: find one, check it against its manifest, open it with ONNX Runtime.

A model is a folder with `manifest.json` beside its ONNX files. The runtime refuses a file whose size, SHA-256 or
tensors differ from the manifest, because a wrong model gives wrong verdicts without any other sign. A file is read
once, and what was checked is what a loader gets.
"""

import hashlib
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from edge_app.errors import ModelError, first_line
from edge_app.inference.manifest import (
    HEADS,
    MANIFEST,
    NETWORK_BYTES,
    REPAIR,
    STAGES,
    STRIDES,
    Stage,
    Task,
    Tensor,
    read_manifest,
    read_regular,
)
from edge_app.inference.onnx_file import FLOAT, NotOnnx, Value, inspect
from edge_app.inference.ort import onnxruntime as ort
from edge_app.inference.trial import Case, attempt

ModelName = Literal["face_detector", "mask_classifier"]
Engine = Literal["opencv", "onnxruntime"]
_TASKS: dict[ModelName, Task] = {"face_detector": "face_detection", "mask_classifier": "mask_classification"}
# SHA-256 of the released networks. The tests have run them, so they need no trial, which takes a fifth of a second. A
# network that replaces one of these works without being listed here; it starts a little later.
RELEASED = frozenset(
    {
        "797886a9ee4174a174054ed2753b7c9746ccc42fae52d7776b6513939525e1e8",  # face_detector, fp32
        "e39abf516c2c7cae915bcaaad736530d9fd56b20fa5350ed5f00304a5654c55b",  # mask_classifier, fp32
        "1807d0d212c4c3620a5970dfb5dbe344e98bc1bc3a89ecc9348b67bdcc862753",  # mask_classifier, int8
    }
)

TRIED_SIZE = 640  # largest frames of a detector's trial, pixels: a slow board needs seconds for larger ones


class Model:
    """A model folder whose manifest is sound; its networks are checked when they are asked for.

    Args:
        folder: the folder that holds `manifest.json`.

    Raises:
        ModelError: no folder, no manifest, or a manifest that does not fit the schema.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._content: dict[str, bytes] = {}
        self._tried: set[tuple[str, str, int]] = set()

    def file(self, precision: str) -> Path:
        """Path of the ONNX file of that precision, checked as `content` does; a loader gets the `network`."""
        self.content(precision)
        return self._path(precision)

    def content(self, precision: str) -> bytes:
        """The ONNX file of that precision, if it is the one in the manifest.

        Raises:
            ModelError: an unknown precision, or a file that is missing, outside the folder or of another size or hash.
        """
        if precision not in self._content:
            self._content[precision] = self._read(precision)
        return self._content[precision]

    def network(self, precision: str, engine: Engine, size: int = 320) -> bytes:
        """The content for a loader: its tensors match the manifest, and unless released it has passed a trial.

        size: long side of the detector's input, pixels.

        Raises:
            ModelError: as `content`, or a network that has other tensors, cannot be run, or takes too much time or
                memory.
        """
        content, job = self.content(precision), (precision, engine, size)
        if job not in self._tried:
            self._check(self._path(precision), content)
            if self.manifest.files[precision].sha256 not in RELEASED:
                problem = attempt(content, engine, self._cases(size))
                if problem:
                    path = self._path(precision)
                    raise ModelError(f"{path}: cannot load it and run it ({problem})", REPAIR)
            self._tried.add(job)
        return content

    def session(self, precision: str, threads: int = 1, provider: str = "CPUExecutionProvider") -> ort.InferenceSession:
        """Open the ONNX file with `threads` intra-op threads.

        Raises:
            ModelError: provider not available, or as `network`.
        """
        available = ort.get_available_providers()
        if provider not in available:
            raise ModelError(
                f"onnxruntime provider {provider!r} is not available here; available: {', '.join(available)}"
                " (set classifier.provider, or install the onnxruntime build that has it)"
            )
        network = self.network(precision, "onnxruntime")
        try:
            return open_session(network, threads, provider)
        except Exception as error:  # onnxruntime raises many unrelated types here
            path = self._path(precision)
            raise ModelError(f"{path}: onnxruntime cannot load it ({first_line(error)})", REPAIR) from None

    def _path(self, precision: str) -> Path:
        return self.folder / self.manifest.files[precision].file

    def _read(self, precision: str) -> bytes:
        if precision not in self.manifest.files:
            known = ", ".join(sorted(self.manifest.files))
            raise ModelError(f"{self.folder / MANIFEST}: no {precision!r} file; this model has: {known}")
        entry, path = self.manifest.files[precision], self._path(precision)
        try:
            if not path.resolve(strict=True).is_relative_to(self.folder.resolve()):
                raise ModelError(f"{path}: a link that leads out of the model folder", REPAIR)
            size = path.stat().st_size
            if size != entry.bytes:
                raise ModelError(f"{path}: {size} bytes, expected {entry.bytes}", REPAIR)
            content = read_regular(path, NETWORK_BYTES)
        except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
            reason = error.strerror if isinstance(error, OSError) else first_line(error)
            raise ModelError(f"{path}: cannot be read ({reason})", REPAIR) from None
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise ModelError(f"{path}: SHA-256 {digest[:12]}…, expected {entry.sha256[:12]}…", REPAIR)
        return content

    def _check(self, path: Path, content: bytes) -> None:
        try:
            network = inspect(content)
        except NotOnnx as error:
            raise ModelError(f"{path}: edge_app cannot load it ({error})", REPAIR) from None
        if network.opset != self.manifest.opset:
            raise ModelError(f"{path}: opset {network.opset}, the manifest has {self.manifest.opset}", REPAIR)
        expected, found = [self.manifest.input, *self.manifest.outputs], [*network.inputs, *network.outputs]
        for want, got in zip(expected, found, strict=False):
            if not _same(want, got):
                raise ModelError(f"{path}: tensor {got.name} differs from the manifest's {want.name}", REPAIR)
        if len(expected) != len(found):
            raise ModelError(f"{path}: {len(found)} tensors, the manifest has {len(expected)}", REPAIR)

    def _cases(self, size: int) -> list[Case]:
        """The inputs of a trial: a square and a wide frame, or batches of one and two faces."""
        m = self.manifest
        low, high = ((value - m.input.mean) / m.input.scale for value in (0, 255))
        if m.task == "mask_classification":
            side = int(m.input.shape[-1])
            name = m.outputs[0].name
            return [Case((n, 3, side, side), {name: (n, 2)}, low, high) for n in (1, 2)]
        coarsest = STRIDES[-1]
        long = -(-min(size, TRIED_SIZE) // coarsest) * coarsest
        shapes = [(long, long), (max(long // 2 // coarsest, 1) * coarsest, long)]
        return [
            Case(
                (1, 3, height, width),
                {
                    f"{head}_{stride}": (1, height // stride * (width // stride), values)
                    for head, values in HEADS.items()
                    for stride in STRIDES
                },
                low,
                high,
            )
            for height, width in shapes
        ]


def _same(want: Tensor, got: Value) -> bool:
    """Whether a tensor matches the manifest. Dynamic dimensions, of either, match any name and size."""
    sizes = zip(want.shape, got.shape, strict=False)
    return (want.name, FLOAT, len(want.shape)) == (got.name, got.dtype, len(got.shape)) and all(
        isinstance(a, str) or isinstance(b, str) or a == b for a, b in sizes
    )


def open_session(
    network: str | bytes,
    threads: int = 1,
    provider: str = "CPUExecutionProvider",
    sizes: Mapping[str, int] | None = None,
) -> ort.InferenceSession:
    """An ONNX network, a file's path or its content, with `threads` intra-op threads.

    sizes: of dynamic dimensions, by their name in the network; others stay dynamic.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning threads keep a whole core busy while they wait, which the other stages need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for dimension, size in (sizes or {}).items():
        options.add_free_dimension_override_by_name(dimension, size)
    return ort.InferenceSession(network, options, providers=[provider])


def open_model(folder: Path | None, name: ModelName, stage: Stage) -> Model:
    """The model folder that a setting names, or the default one, if its stage may run.

    Args:
        folder: `detector.model` or `classifier.model`. name: the default model where it is None.
        stage: `detector.stage` or `classifier.stage`, the earliest stage that may run.

    Raises:
        ModelError: as `Model`, or a model of an earlier stage, or for something else.
    """
    model = Model(folder or models_dir() / name)
    found, section = model.manifest.stage, name.rpartition("_")[2]
    if STAGES.index(found) < STAGES.index(stage):
        advice = "promote it with `python -m export promote`, or " if section == "classifier" else ""
        raise ModelError(
            f"{model.folder / MANIFEST}: its stage is {found}, only {stage} may run here",
            f"{advice}set {section}.stage to {found} if you mean to run it",
        )
    if model.manifest.task != _TASKS[name]:
        raise ModelError(f"{model.folder}: a {model.manifest.task} model; {section}.model needs {_TASKS[name]}")
    return model


@cache
def models_dir() -> Path:
    """Folder of the default models: `EDGE_APP_MODELS`, else the one of the wheel, a link to `models/` in a checkout."""
    if override := os.environ.get("EDGE_APP_MODELS"):
        return Path(override)
    return (Path(__file__).parents[1] / "_models").resolve()

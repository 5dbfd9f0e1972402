"""`manifest.json` of a model folder: its schema, and the input and output contract of the runtime that it must match.

Every field is binding: it is used, or compared with what the runtime does, so that a mismatch is refused and never
silently ignored.
"""

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edge_app.errors import ModelError

MANIFEST = "manifest.json"
REPAIR = "restore the folder from the release, or export the model again with `python -m export`"
MANIFEST_BYTES = 1 << 20  # largest manifest that is read; ours have 14 KB
NETWORK_BYTES = 128 << 20  # largest network that is read; ours have up to 11 MB

Task = Literal["face_detection", "mask_classification"]
Stage = Literal["beta", "gamma", "prod"]
STAGES: tuple[Stage, ...] = ("beta", "gamma", "prod")  # in the order of promotion

# The input of the classifier, which `vision.crops` makes. Change anything here and it has to be trained again.
CROP_SIZE = 112  # pixels; side of the square crop the classifier takes
CROP_MARGIN = 0.3  # the square's side is (1 + margin) times the longer side of the box
PIXEL_MEAN = 127.5  # network input = (pixel - mean) / scale, so it lies in -1..1
PIXEL_SCALE = 127.5

# The outputs of a detector, as `cv2.FaceDetectorYN` has them: values a cell of each head, at each stride.
HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
STRIDES = (8, 16, 32)
FRAME_RESIZE = "Frame scaled to detector.input_size on its long side, padded with zeros to multiples of 32."
CROP_RESIZE = "Square crop, (1 + margin) times the longer side of the box, edge pixels repeated."

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_ .+-]{0,63}$")]
TensorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Precision = Annotated[str, Field(pattern=r"^(fp32|int8)$")]
Dimension = Annotated[int, Field(ge=1, le=65536)] | TensorName


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelFile(_Strict):
    """One precision of a model: file name inside the folder, lower-case hex SHA-256, size in bytes."""

    file: str = Field(
        pattern=r"^[A-Za-z0-9_+-][A-Za-z0-9_ .+-]{0,127}$"
    )  # a name: no folder, and nothing that leads out of ours
    sha256: Sha256
    bytes: int = Field(ge=0, le=NETWORK_BYTES)


class Tensor(_Strict):
    """One tensor of the graph. A string in `shape` is a dynamic dimension."""

    name: TensorName
    shape: list[Dimension] = Field(min_length=1, max_length=8)
    dtype: Literal["float32"] = "float32"


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

    time: ISO 8601, UTC. version, sha256 (precision -> hex): of the files. metrics: measured for it, on n labelled faces
    of `data`. approved: the reason of a promotion despite a worse metric.
    """

    stage: Stage
    time: str = Field(pattern=r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}([.][0-9]+)?([+]00:00|Z)$")
    version: Word
    sha256: dict[Precision, Sha256]
    metrics: dict[str, Any]
    n: int = Field(ge=0)
    data: str
    approved: str | None = None

    @field_validator("metrics")
    @classmethod
    def _numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _plain(value)


class Manifest(_Strict):
    """What `manifest.json` holds. history: oldest first; that of the models it replaced comes before its own."""

    name: Word
    version: Word
    task: Task
    stage: Stage = "prod"
    history: list[Step] = []
    files: dict[Precision, ModelFile] = Field(min_length=1)
    opset: int = Field(ge=1, le=100)
    input: InputTensor
    outputs: list[Tensor] = Field(min_length=1, max_length=64)
    labels: list[Word]
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]]
    temperature: float = Field(1.0, ge=1e-6, le=1e6)
    metrics: dict[str, Any]
    training: dict[str, Any]

    @field_validator("metrics", "training")
    @classmethod
    def _numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        return _plain(value)

    @model_validator(mode="after")
    def _fits_its_task(self) -> "Manifest":
        problem = _contract(self)
        if problem:
            raise ValueError(f"{problem[0]}: {problem[1]}")
        return self


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """JSON values, every number of them finite."""
    left: list[Any] = [value]
    while left:
        item = left.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"{item} is no finite number")
        left += item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
    return value


def _contract(m: Manifest) -> tuple[str, str] | None:
    """The first field that does not fit the task, and why; None where all do."""
    detects = m.task == "face_detection"
    labels = ["face"] if detects else ["mask", "no_mask"]
    pixels: dict[str, Any] = (
        {"colour": "BGR", "mean": 0.0, "scale": 1.0, "crop_margin": None, "resize": FRAME_RESIZE}
        if detects
        else {
            "colour": "RGB", "mean": PIXEL_MEAN, "scale": PIXEL_SCALE, "crop_margin": CROP_MARGIN,
            "resize": CROP_RESIZE,
        }
    )  # fmt: skip
    if m.labels != labels:
        return "labels", f"a {m.task} model has the labels {', '.join(labels)}, in this order"
    for field, expected in pixels.items():
        found = getattr(m.input, field)
        if found != expected:
            return f"input.{field}", f"{str(found)[:80]}: the runtime's own is {expected} and no other"
    sizes = [None if isinstance(size, str) else size for size in m.input.shape]  # None: dynamic
    if sizes != [1, 3, None, None] if detects else sizes[:2] != [None, 3] or len(sizes) != 4 or None in sizes[2:]:
        wanted = '1, 3, "height", "width"' if detects else f'"batch", 3, {CROP_SIZE}, {CROP_SIZE}'
        return "input.shape", f"a {m.task} model has [{wanted}]"
    if detects:
        return _detector(m)
    if m.input.shape[2] != m.input.shape[3]:
        return "input.shape", "height and width of a face crop are the same"
    if [output.shape[1:] for output in m.outputs] != [[2]]:
        return "outputs", 'a mask_classification model has one, of the shape ["batch", 2]'
    for name in labels:
        if name not in m.thresholds:
            return "thresholds", f"no {name!r} threshold"
    if len(m.thresholds) > 2 or m.thresholds["no_mask"] > m.thresholds["mask"]:
        return "thresholds", "expected no_mask and mask alone, the first not above the second"
    return None


def _detector(m: Manifest) -> tuple[str, str] | None:
    wanted = {f"{head}_{stride}": size for head, size in HEADS.items() for stride in STRIDES}
    found = {output.name: output.shape[2] for output in m.outputs if len(output.shape) == 3}
    if found != wanted or len(m.outputs) != len(wanted):
        return "outputs", f"a face_detection model has {', '.join(wanted)} for one frame at a time"
    for name in m.thresholds:
        if not re.fullmatch(r"score@[1-9][0-9]{0,4}", name):
            return "thresholds", f"{name[:80]!r}: expected score@SIZE, SIZE in pixels"
    return None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder.

    Raises:
        ModelError: no folder, no manifest, or one that does not fit the schema.
    """
    path = folder / MANIFEST
    try:
        content = read_regular(path, MANIFEST_BYTES)
        return Manifest.model_validate(json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; expected a model folder with a {MANIFEST}", REPAIR) from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})", "check the path and its permissions") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(f"{part[:80]!a}"[1:-1] if isinstance(part, str) else str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"{path}: {where + ': ' if where else ''}{problem}", REPAIR) from None
    except _Unsound as error:
        raise ModelError(f"{path}: {error}", REPAIR) from None
    except (ValueError, RecursionError):  # no JSON, not UTF-8, a number of thousands of digits, thousands of brackets
        raise ModelError(f"{path}: not valid JSON", REPAIR) from None


class _Unsound(Exception):
    """Valid JSON that a manifest may not hold."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Unsound(f"the key {key[:80]!a} is there twice")
        found[key] = value
    return found


def _no_number(constant: str) -> float:
    raise _Unsound(f"{constant} is no number of JSON")


def read_regular(path: Path, most: int) -> bytes:
    """Content of a regular file of no more than `most` bytes, checked before it is read: no pipe, no device.

    Raises:
        OSError: cannot be read, or is no such file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
        if status.st_size <= most:
            content = file.read(most + 1)
            if len(content) <= most:
                return content
        raise OSError(0, f"more than {most:,} bytes")

"""The faces of single pictures and a verdict for each.

A bad picture is reported and the others are still done. Annotated copies never overwrite an input or each other.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_app.capture.folders import list_images
from edge_app.capture.images import MAX_SIDE, load_image
from edge_app.config.settings import OutputSettings, Settings
from edge_app.errors import SinkError, SourceError, UsageError
from edge_app.outputs import files
from edge_app.outputs.overlay import annotate_image
from edge_app.redact import redact
from edge_app.source_text import is_address
from edge_app.vision.analyzer import Analyzer, Face, faces, named_if_too_large


@dataclass(frozen=True)
class PictureResult:
    """What was found in one picture; size is width, height in pixels."""

    path: Path
    size: tuple[int, int]
    faces: list[Face]
    too_small: int  # faces left out because they are narrower than detector.min_face_px

    def to_dict(self) -> dict[str, Any]:
        faces = [face.to_dict() for face in self.faces]
        return {"path": str(self.path), "size": list(self.size), "faces": faces, "faces_too_small": self.too_small}


@dataclass
class Totals:
    """What was found in all pictures together."""

    pictures: int = 0
    failed: int = 0
    too_small: int = 0
    faces: Counter[str] = field(default_factory=Counter)

    def add(self, picture: PictureResult) -> None:
        self.pictures += 1
        self.too_small += picture.too_small
        self.faces.update(face.label for face in picture.faces)

    def text(self, min_face_px: int) -> str:
        """`pictures: 3, faces: 2 (1 mask, 1 no_mask, 0 unsure)`, and what is missing in it."""
        labels = ", ".join(f"{self.faces[label]} {label}" for label in ("mask", "no_mask", "unsure"))
        words = f"pictures: {self.pictures}, faces: {self.faces.total()} ({labels})"
        if self.too_small:
            words += f"; {self.too_small} left out, narrower than detector.min_face_px = {min_face_px}"
        return words + (f"; could not be judged: {self.failed}" if self.failed else "")


def judge(
    paths: Iterable[Path],
    settings: Settings,
    *,
    output_dir: Path | None = None,
    on_error: Callable[[SourceError], None],
) -> Iterator[PictureResult]:
    """Find and judge the faces of every picture, in order.

    Args:
        paths: pictures, or folders of pictures, which are searched with their subfolders.
        settings: the detector, classifier, quality, verdict and output sections are used.
        output_dir: folder for annotated copies; made where it is missing.
        on_error: told of every picture or folder that cannot be read.

    Raises:
        ModelError: a model that cannot be used.
        SinkError: an annotated copy that cannot be written.
    """
    analyzer = Analyzer(settings)
    inputs = list(_expand(paths, on_error))
    names = _Names(output_dir, inputs, settings.output) if output_dir else None

    def one(path: Path) -> PictureResult:  # whose pixels are gone before the next picture is loaded
        image = load_image(path)
        detections = analyzer.analyze(image)
        found = faces(detections)
        if names:
            names.write(path, annotate_image(image, detections, [face.label for face in found]))
        return PictureResult(path, (image.shape[1], image.shape[0]), found, detections.metadata["too_small"])

    for path in inputs:
        try:
            with named_if_too_large(str(path)):
                picture = one(path)
        except SourceError as error:
            on_error(error)
        else:
            yield picture


def _expand(paths: Iterable[Path], on_error: Callable[[SourceError], None]) -> Iterator[Path]:
    for path in paths:
        if is_address(path) and not os.path.lexists(path):
            url = redact(re.sub(":/+", "://", str(path), count=1))  # a `Path` has lost one slash
            on_error(SourceError(f"{url}: an address, not a picture; download it, or watch it with: edge-app run"))
            continue
        if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir fails for names that are too long
            yield path
            continue
        try:
            yield from list_images(path, on_error)
        except SourceError as error:
            on_error(error)


# Of the formats that a copy may have, pixels; a larger copy is a PNG.
_LARGEST_SIDE = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383, ".png": MAX_SIDE, ".bmp": MAX_SIDE}


class _Names:
    """Gives each picture its own file in the output folder: face.jpg, face_2.jpg, …

    What is there is kept; with `output.overwrite` it is replaced, but never an input or another copy of this run.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path], output: OutputSettings) -> None:
        self._folder, self._output = folder, output
        if is_address(folder):
            raise UsageError("--output-dir: this is an address, and the copies go to a folder of this machine")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SinkError(f"{folder}: cannot be made ({error.strerror}): choose another --output-dir") from None
        # Without `overwrite` all that exists is taken anyway. Not `Path.resolve`, which fails at a link to itself.
        self._taken = {Path(os.path.realpath(path)) for path in inputs} if output.overwrite else set()

    def write(self, path: Path, image: npt.NDArray[np.uint8]) -> None:
        """Write the copy of the picture `path`.

        Raises:
            SinkError: it cannot be encoded or written.
        """
        suffix = path.suffix if path.suffix.lower() in _LARGEST_SIDE else ".png"
        if max(image.shape[:2]) > _LARGEST_SIDE[suffix.lower()]:
            suffix = ".png"
        wanted = self._folder / f"{path.stem}{suffix}"
        output, real = self._output, self._folder.resolve()
        try:
            done, encoded = cv2.imencode(suffix, image)
            if not done:
                raise SinkError(f"{wanted}: OpenCV cannot encode this picture as {suffix}")
            names = (files.numbered(wanted, number, "_") for number in count(1))
            free = next(name for name in names if real / name.name not in self._taken)
            name = files.write_new(free, encoded.tobytes(), output.permissions, output.overwrite, joint="_")
        except cv2.error as error:
            raise SinkError(f"{wanted}: cannot be encoded ({error.err})") from None
        except OSError as error:
            raise SinkError(f"{wanted}: cannot be written ({error.strerror})") from None
        if output.overwrite:
            self._taken.add(real / name.name)

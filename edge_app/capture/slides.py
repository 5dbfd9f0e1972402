"""Pictures as a source: one, or those of a folder one after another."""

import logging
from pathlib import Path

from edge_app.capture.folders import list_images
from edge_app.capture.images import load_image
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from edge_app.records import Pixels

_FOLDER_FPS = 25.0
log = logging.getLogger(__name__)


class PictureSource(Source):
    """One picture, or the pictures of a folder as a video: `fps` frames a second, 25 when unset.

    A bad picture in a folder is logged and skipped; `bad` counts them.
    """

    def __init__(self, spec: SourceSpec, settings: SourceSettings) -> None:
        path = Path(spec.uri)
        self._folder = path.is_dir()
        self._paths = list_images(path) if self._folder else [path]
        self._fps = settings.fps or _FOLDER_FPS
        self._next, self.bad = 0, 0
        self._first = self._load()
        if self._first is None:
            raise SourceError(f"{spec.display}: none of the {len(self._paths)} pictures in this folder can be decoded")
        height, width = self._first[0].shape[:2]
        self.info = SourceInfo(spec.display, "images", False, width, height, self._fps, len(self._paths))

    def read(self) -> tuple[Pixels, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._load()

    def _load(self) -> tuple[Pixels, float] | None:
        while self._next < len(self._paths):
            index, self._next = self._next, self._next + 1
            try:
                return load_image(self._paths[index]), index / self._fps
            except SourceError as error:
                if not self._folder:
                    raise
                self.bad += 1
                log.warning("%s (passed over)", error)
        return None

    def close(self) -> None:
        pass

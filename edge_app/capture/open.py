"""Opens what a user calls a source: takes its text, gives BGR frames one after another.

`parse_source` tells the kind from the text alone, `open_source` opens it and has its first frame decoded, so that
a source that opened does work.
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

from edge_app.capture.folders import IMAGE_SUFFIXES, list_images, list_media
from edge_app.capture.images import Picture, load_image
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError, UsageError
from edge_app.redact import register_source, shown_source
from edge_app.source_text import STREAM_SCHEMES, is_file, problem

__all__ = [
    "Source",
    "SourceInfo",
    "SourceSpec",
    "expand_sources",
    "list_images",
    "load_image",
    "open_source",
    "parse_source",
]

Kind = Literal["camera", "file", "images", "stream", "csi", "gstreamer", "demo"]

log = logging.getLogger(__name__)
_FOLDER_FPS = 25.0


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source as asked for. uri may hold credentials; only `display` may be shown. live: frames do not wait."""

    kind: Kind
    uri: str
    display: str
    live: bool

    def __repr__(self) -> str:
        return f"SourceSpec({self.kind}, {self.display})"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A source as opened. width, height: pixels of the first frame; fps, frame_count: None where unknown."""

    display: str
    kind: Kind
    live: bool
    width: int
    height: int
    fps: float | None
    frame_count: int | None


class Source(Protocol):
    """An opened source, a context manager. Only one thread may use it, and that thread closes it."""

    info: SourceInfo

    def read(self) -> tuple[Picture, float] | None:
        """The next frame, uint8 (H, W, 3) BGR, and its media time in seconds, never decreasing; None at the end.

        Raises:
            SourceError: nothing can be decoded.
        """
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def parse_source(text: str) -> SourceSpec:
    """Tell the kind of a source from its text, without opening it.

    Raises:
        UsageError: empty, an unknown scheme, or a pipeline without appsink.
    """
    if not is_file(text):  # a name may begin or end with a space
        text = text.strip()
    if not text:
        raise UsageError("the source is empty: give a camera index, file, folder, URL, pipeline or `demo`")
    if text == "-":
        raise UsageError("-: standard input is /dev/stdin, a file of this name is ./-")
    register_source(text)
    shown = shown_source(text)
    if wrong := problem(text):
        raise UsageError(f"{shown}: {wrong}")
    if text == "demo":
        return SourceSpec("demo", text, "demo", live=False)
    if text.isdecimal() or re.fullmatch(r"/dev/video\d+", text):
        return SourceSpec("camera", text, f"camera {text}" if text.isdecimal() else text, live=True)
    if " ! " in text and not is_file(text):
        if "appsink" not in text:
            raise UsageError(f"{shown}: a GStreamer pipeline must end in ` ! appsink`")
        return SourceSpec("gstreamer", text, shown, live=True)
    scheme, separator, rest = text.partition("://")
    if separator and re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme):
        scheme = scheme.lower()
        if scheme in STREAM_SCHEMES:
            return SourceSpec("stream", f"{scheme}://{rest}", shown, live=True)
        if scheme == "csi" and rest.isdecimal():
            return SourceSpec("csi", text, shown, live=True)
        raise UsageError(
            f"{shown}: not a source; URLs start with rtsp://, rtsps://, http:// or https://, or are csi://N"
        )
    # Not `Path.expanduser`: it fails for ~x.mp4 where no user is called so, and takes the ./ from ./~x.mp4.
    path = os.path.expanduser(text)  # noqa: PTH111
    kind: Kind = "images" if _is_folder(path) or Path(path).suffix.lower() in IMAGE_SUFFIXES else "file"
    return SourceSpec(kind, path, shown, live=False)


def expand_sources(texts: Sequence[str]) -> list[str]:
    """The sources that are meant: a folder with videos becomes its videos, subfolders included, in order.

    All else stays as it is: a folder of pictures is one source. Of a folder that holds both, the videos are played, and
    a warning names the pictures left out: `edge-app image` judges those. What comes back is text for `parse_source`.

    Raises:
        UsageError: a text that is no source.
        SourceError: a folder that cannot be read.
    """
    expanded: list[str] = []
    for text in texts:
        spec = parse_source(text)
        if not (spec.kind == "images" and _is_folder(spec.uri)):
            expanded.append(text)
            continue
        media = list_media(spec.uri)
        for error in media.errors:
            log.warning("%s (passed over)", error)
        if media.videos and media.pictures:
            log.warning(
                "%s: its %d videos are played; for its pictures (%d) use: edge-app image",
                spec.display,
                len(media.videos),
                len(media.pictures),
            )
        expanded += media.videos or [text]
    return expanded


def _is_folder(path: str) -> bool:
    """As `Path.is_dir`, which fails where a name is too long."""
    return os.path.isdir(path)  # noqa: PTH112


def open_source(spec: SourceSpec, settings: SourceSettings) -> Source:
    """Open a source and decode its first frame.

    Blocks for as long as `settings.open_timeout_s`, a little longer for a stream that fails. A device that hangs in
    its driver may block for ever: `capture.FrameReader` puts a thread in between.

    Raises:
        SourceError: it cannot be opened, or nothing can be decoded from it.
    """
    if spec.kind == "demo":
        from edge_app.capture.demo import DemoSource

        return DemoSource()
    if spec.kind == "images":
        return PictureSource(spec, settings)
    from edge_app.capture import opencv

    if spec.kind == "file":
        return opencv.open_file(spec, settings)
    if spec.kind == "stream":
        return opencv.open_stream(spec, settings)
    if spec.kind == "camera":
        return opencv.open_camera(spec, settings)
    pipeline = spec.uri if spec.kind == "gstreamer" else opencv.csi_pipeline(int(spec.uri[6:]), settings)
    return opencv.open_gstreamer(spec, pipeline)


class PictureSource(Source):
    """One picture, or the pictures of a folder as a film: `fps` frames a second, 25 when unset.

    A bad picture in a folder is warned of and passed over; `bad` counts them.
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

    def read(self) -> tuple[Picture, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._load()

    def _load(self) -> tuple[Picture, float] | None:
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

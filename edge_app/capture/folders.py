"""Lists media: takes a folder, gives its pictures and videos in natural sort order: 1, 2, 10."""

import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edge_app.errors import SourceError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"),
    *(".jp2", ".j2k", ".jpx", ".heic", ".heif"),
)
VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".flv", ".wmv", ".ogv", ".mxf"),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Media:
    """Paths by kind, in order. errors: one for every folder below that cannot be read."""

    pictures: list[str] = field(default_factory=list)
    videos: list[str] = field(default_factory=list)
    errors: list[SourceError] = field(default_factory=list)


def list_media(folder: str) -> Media:
    """The pictures and videos in `folder` and below, by suffix: the files of a folder first, then its subfolders.

    Hidden files and folders are left out, such as the `._IMG_1.JPG` that a Mac puts beside each picture. Links to
    folders are followed, each folder is entered once. A broken link is listed by its own suffix, so that
    opening it reports the error.

    Raises:
        SourceError: `folder` itself cannot be read.
    """
    media, entered = Media(), set[tuple[int, int]]()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        try:
            status = Path(current).stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            files, folders = _read(current)
        except OSError as error:
            failure = SourceError(f"{current}: cannot be read ({error.strerror})")
            if current is folder:
                raise failure from None
            media.errors.append(failure)
            continue
        waiting += reversed(folders)  # a stack: folders may be nested deeper than Python's recursion limit
        for path in files:
            suffix = Path(path).suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                media.pictures.append(path)
            elif suffix in VIDEO_SUFFIXES:
                media.videos.append(path)
    return media


def list_images(folder: Path, on_error: Callable[[SourceError], None] | None = None) -> list[Path]:
    """The pictures in `folder` and below, as `list_media` orders them.

    Args:
        folder: where to look.
        on_error: called for every subfolder that cannot be read; None: a warning is logged.

    Raises:
        SourceError: the folder cannot be read, or there is no picture in it.
    """
    media = list_media(str(folder))
    for error in media.errors:
        if on_error:
            on_error(error)
        else:
            log.warning("%s (passed over)", error)
    if not media.pictures and media.videos:
        number = len(media.videos)
        raise SourceError(
            f"{folder}: no pictures in this folder; its videos ({number}) are played by edge-app run FOLDER"
        )
    if not media.pictures:
        raise SourceError(f"{folder}: no pictures in this folder; looked for {', '.join(IMAGE_SUFFIXES)}")
    return [Path(path) for path in media.pictures]


def _read(folder: str) -> tuple[list[str], list[str]]:
    """Paths of the visible files and folders directly in `folder`, in natural order."""
    files: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: _natural(entry.name)):
            if not entry.name.startswith("."):
                (folders if _is_folder(entry) else files).append(entry.path)
    return files, folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links, or a link whose target is too long a name
        return False


def _natural(name: str) -> tuple[list[str | int], str]:
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name

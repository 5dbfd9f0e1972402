"""Refuses outputs that would destroy something: what a run reads, another of its outputs, or a file of somebody else.

Two names are one file when they lead to the same inode, or, where a file is not there yet, to the same path once
links and `..` are resolved.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_app.config.layers import DEFAULT_CONFIG
from edge_app.config.settings import Settings, SourceSettings
from edge_app.errors import EdgeAppError, UsageError
from edge_app.outputs.files import own_stream, video_path
from edge_app.source_text import is_address

_Key = tuple[int, int] | str
_LOCATION = re.compile(r"\blocation\s*=\s*(?:\"([^\"]+)\"|(\S+))")  # the file of a GStreamer pipeline


def check_outputs(settings: Settings, config: Path | None = None) -> None:
    """For a run: its video, events and summary, with several cameras the video of each.

    Args:
        config: the settings file in use; None: ./config.yaml where there is one.

    Raises:
        UsageError: an output is something that the run reads, or another output, or a file that a run has not written.
    """
    if settings.output.video:
        _check_name(f"--output {settings.output.video}", settings.output.video)
    videos = {f"--output {video}": video for video in camera_videos(settings) if video}
    json_files = {
        f"--{kind} {path}": path for kind in ("events", "summary") if (path := getattr(settings.output, kind))
    }
    others = json_files | ({f"store.path {settings.store.path}": settings.store.path} if settings.store.path else {})
    beside = {
        f"{settings.store.path}{end}, which belongs to store.path": Path(f"{settings.store.path}{end}")
        for end in ("-wal", "-shm", "-journal", ".lock")
        if settings.store.path
    }
    check(videos | others | beside, settings, config)
    for name, path in json_files.items():
        if _is_foreign(path):
            raise UsageError(f"{name}: this file holds something else than JSON: choose another name")
    for name, path in others.items():
        for video_name, video in videos.items():
            if _is_further(path, video):
                raise UsageError(f"{name}: such names are kept for {video_name}, if that one is taken: choose another")


def check(outputs: Mapping[str, Path], settings: Settings, config: Path | None = None) -> None:
    """As `check_outputs`, for outputs by the words that name them."""
    if not outputs:
        return
    taken: dict[_Key, str] = {}
    for what, path in _inputs(settings, config):
        if (key := _identity(path)) is not None:
            taken.setdefault(key, what)
    for name, path in outputs.items():
        _check_name(name, path)
        key = _identity(path)
        if key is None:
            continue
        if key in taken:
            raise UsageError(f"{name}: this file is {taken[key]}: choose another name")
        if own_stream(path) is None:
            taken[key] = f"also {name}"


def _check_name(name: str, path: Path) -> None:
    if str(path) == "-":
        raise UsageError(f"{name}: this is no name for a file; standard output is /dev/stdout")
    if is_address(path):
        raise UsageError(f"{name.split()[0]}: this is an address, and an output is a file of this machine")


def _is_further(path: Path, video: Path) -> bool:
    """Whether this is a name that the video takes where its own is not free."""
    same_name = re.fullmatch(rf"{re.escape(video.stem)}-\d+{re.escape(video.suffix)}", path.name)
    return same_name is not None and os.path.realpath(path.parent) == os.path.realpath(video.parent)


def _is_foreign(path: Path) -> bool:
    """Whether a file is there that no run has written. One that a power failure has left blank may be ours."""
    if not path.is_file() or own_stream(path) is not None:
        return False
    try:
        with path.open("rb") as file:
            start = file.read(4096).lstrip(b"\0 \t\r\n")
    except OSError:  # told when it is opened for writing
        return False
    return bool(start) and not start.startswith(b"{")


def _identity(path: Path) -> _Key | None:
    """The same for all names of one file; None for a pipe or a device, which may take several outputs."""
    try:
        info = path.stat()
    except (OSError, ValueError):
        return os.path.realpath(path)
    return (info.st_dev, info.st_ino) if stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode) else None


def camera_videos(settings: Settings) -> list[Path | None]:
    """The video of each camera: the one asked for, with the camera's name in it where there are several.

    Raises:
        UsageError: two cameras would have the same.
    """
    video, cameras = settings.output.video, settings.cameras
    if video is None or len(cameras) == 1:
        return [video] * len(cameras)
    videos: list[Path | None] = []
    for source in cameras:
        path = video_path(video, source.camera)
        if path in videos:
            raise UsageError(f"{path}: the video of two cameras; give them names that differ in letters or digits")
        videos.append(path)
    return videos


def _inputs(settings: Settings, config: Path | None) -> Iterator[tuple[str, Path]]:
    """What a run reads: words for it, and the file."""
    yield "the configuration", config or DEFAULT_CONFIG
    for source in settings.cameras:
        yield from _source_files(source)
    from edge_app.inference.model import models_dir

    for folder in (
        settings.detector.model or models_dir() / "face_detector",
        settings.classifier.model or models_dir() / "mask_classifier",
    ):
        with contextlib.suppress(OSError):
            yield from ((f"part of the model {folder}", path) for path in folder.iterdir())


def _source_files(source: SourceSettings) -> Iterator[tuple[str, Path]]:
    from edge_app.capture.folders import list_images
    from edge_app.capture.open import parse_source

    try:
        spec = parse_source(source.uri)
    except EdgeAppError:  # told when it is opened
        return
    if spec.kind == "gstreamer":
        for found in _LOCATION.finditer(spec.uri):
            yield "the source", Path(found[1] or found[2])
    if spec.kind not in ("file", "images"):
        return
    path = Path(spec.uri)
    yield "the source", path
    if path.is_dir():
        with contextlib.suppress(EdgeAppError):
            yield from ((f"a picture of the source {spec.display}", picture) for picture in list_images(path))

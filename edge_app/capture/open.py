"""Opens a source: takes its text, gives pictures one after another.

`parse_source` takes the kind from the text alone, `open_source` opens it and has its first frame decoded, so that
a source that opened does work.
"""

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge_app.capture import opencv, snapshots, video
from edge_app.capture.demo import DemoSource
from edge_app.capture.folders import IMAGE_SUFFIXES, list_media
from edge_app.capture.images import is_animation
from edge_app.capture.slides import PictureSource
from edge_app.capture.source import Kind, Source, SourceSpec
from edge_app.config.secrets import secret_of
from edge_app.config.settings import SourceSettings
from edge_app.errors import UsageError
from edge_app.redact import register, register_source, shown_source
from edge_app.source_text import STREAM_SCHEMES, has_login, is_file, problem, with_login

log = logging.getLogger(__name__)

_LONGEST_LOGIN = {"rtsp": 127, "http": 1023}  # characters, special ones as %XX; FFmpeg cuts off what is longer

OPENERS: dict[Kind, Callable[[SourceSpec, SourceSettings], Source]] = {
    "camera": opencv.open_camera,
    "csi": opencv.open_csi,
    "demo": lambda _spec, _settings: DemoSource(),
    "file": video.open_file,
    "gstreamer": opencv.open_gstreamer,
    "images": PictureSource,
    "stream": lambda spec, settings: (snapshots.SnapshotSource if settings.every else video.open_stream)(
        spec, settings
    ),
}


def parse_source(text: str) -> SourceSpec:
    """Parse the text of a source into its kind, without opening it; but a GIF or AVIF is looked into, whether it moves.

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
    pictures = _is_folder(path) or (Path(path).suffix.lower() in IMAGE_SUFFIXES and not is_animation(path))
    kind: Kind = "images" if pictures else "file"
    return SourceSpec(kind, path, shown, live=False)


def expand_sources(texts: Sequence[str]) -> list[str]:
    """The sources that are meant: a folder with videos becomes its videos, subfolders included, in order.

    All else stays as it is: a folder of pictures is one source. Of a folder that holds both, the videos are played, and
    a warning names the pictures left out: `edge-app image` reads those. What comes back is text for `parse_source`.

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
        UsageError: a URL that cannot take the login of the settings.
    """
    return OPENERS[spec.kind](_logged_in(spec, settings), settings)


def _logged_in(spec: SourceSpec, settings: SourceSettings) -> SourceSpec:
    """With the login of the settings in its URL; what is no stream needs none."""
    if spec.kind != "stream" or {settings.username, settings.password, settings.password_file} == {None}:
        return spec
    if has_login(spec.uri):
        raise UsageError(f"{spec.display}: has a login of its own, and source.username or source.password is set too")
    username, password = settings.username or "", secret_of(settings, "password") or ""
    uri = with_login(spec.uri, username, password)
    for secret in (password, f"{username}:{password}"):
        register(secret)
    register_source(uri)
    longest = _LONGEST_LOGIN[spec.uri[:4].lower()]
    if len(uri) - len(spec.uri) - 1 > longest:
        raise UsageError(
            f"{spec.display}: source.username and source.password are too long for this protocol: {longest} characters "
            "together, where a special one counts as three or more"
        )
    return replace(spec, uri=uri)

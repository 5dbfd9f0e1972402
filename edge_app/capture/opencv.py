"""Cameras and pipelines through `cv2.VideoCapture`: takes a `SourceSpec`, gives an open `Source`."""

import glob
import math
import os
import sys
import time
from functools import cache
from pathlib import Path

import cv2

from edge_app.capture.images import to_bgr
from edge_app.capture.probe import too_large
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from edge_app.records import Pixels

_JETSON = Path("/etc/nv_tegra_release")


class _CaptureSource(Source):
    """A `cv2.VideoCapture` that is open; live. Frames may change size. why: what to say where no first frame comes."""

    def __init__(self, capture: cv2.VideoCapture, spec: SourceSpec, why: str) -> None:
        self._capture, self._display = capture, spec.display
        fps = capture.get(cv2.CAP_PROP_FPS)
        try:
            size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if problem := too_large(size):
                raise SourceError(f"{spec.display}: cannot be opened: {problem}")
            self._first = self._decode() if capture.isOpened() else None
            if self._first is None:
                raise SourceError(f"{spec.display}: cannot be opened: {why}")
        except BaseException:
            capture.release()
            raise
        height, width = self._first[0].shape[:2]
        known_fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else None
        self.info = SourceInfo(spec.display, spec.kind, True, width, height, known_fps, None)

    def read(self) -> tuple[Pixels, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._decode()

    def _decode(self) -> tuple[Pixels, float] | None:
        try:
            ok, image = self._capture.read()
        except cv2.error as error:
            raise SourceError(f"{self._display}: cannot be decoded ({error.err})") from None
        if not ok or image is None or image.size == 0:
            return None
        return to_bgr(image), time.monotonic()

    def close(self) -> None:
        self._capture.release()


@cache
def _prepare() -> None:
    """Once in a process, before anything is opened; not when we are imported, for it changes what others may use."""
    # Every failure becomes one line of ours; OpenCV would print its own.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def _capture(what: str | int, backend: int) -> cv2.VideoCapture:
    _prepare()
    return cv2.VideoCapture(what, backend)


def open_camera(spec: SourceSpec, settings: SourceSettings) -> Source:
    linux = sys.platform.startswith("linux")
    device = Path(f"/dev/video{spec.uri}" if spec.uri.isdecimal() else spec.uri)
    if linux and not device.exists():
        here = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"  # noqa: PTH207
        raise SourceError(f"{spec.display}: no camera at {device}; cameras here: {here}")
    if linux and not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{device}: no permission: add yourself to the group of this file (usually `video`)")
    backend = cv2.CAP_V4L2 if linux else cv2.CAP_ANY
    capture = _capture(int(spec.uri) if spec.uri.isdecimal() else spec.uri, backend)
    if settings.width or settings.height:  # uncompressed, USB carries larger pictures at a few frames a second only
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    for key, value in (
        (cv2.CAP_PROP_FRAME_WIDTH, settings.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, settings.height),
        (cv2.CAP_PROP_FPS, settings.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    ):
        if value:
            capture.set(key, value)
    return _CaptureSource(capture, spec, "the camera gives no frames: another program may be using it")


def open_csi(spec: SourceSpec, settings: SourceSettings) -> Source:
    return _open_pipeline(spec, csi_pipeline(int(spec.uri.partition("://")[2]), settings))


def open_gstreamer(spec: SourceSpec, settings: SourceSettings) -> Source:
    return _open_pipeline(spec, spec.uri)


def _open_pipeline(spec: SourceSpec, pipeline: str) -> Source:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"{spec.display}: this OpenCV has no GStreamer (the pip wheels have none): "
            "use the system's OpenCV (python3-opencv), or a camera index, file or URL"
        )
    capture = _capture(pipeline, cv2.CAP_GSTREAMER)
    return _CaptureSource(capture, spec, "the pipeline gives no frames: try it with gst-launch-1.0")


def csi_pipeline(sensor: int, settings: SourceSettings) -> str:
    """The pipeline of a ribbon-cable camera: NVIDIA's source on a Jetson, libcamera elsewhere (Raspberry Pi)."""
    size = f"width={settings.width or 1280},height={settings.height or 720}"
    rate = f"framerate={round(settings.fps or 30)}/1"
    end = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    if _JETSON.exists():
        caps = f"video/x-raw(memory:NVMM),{size},{rate}"
        return f"nvarguscamerasrc sensor-id={sensor} ! {caps} ! nvvidconv ! video/x-raw,format=BGRx ! {end}"
    if sensor:
        raise SourceError(
            f"csi://{sensor}: libcamera names its cameras, so only csi://0 works here; "
            "give a pipeline: `libcamerasrc camera-name=… ! videoconvert ! video/x-raw,format=BGR ! appsink`"
        )
    return f"libcamerasrc ! video/x-raw,{size},{rate} ! {end}"

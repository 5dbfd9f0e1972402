"""Videos, cameras, streams and pipelines through `cv2.VideoCapture`: takes a `SourceSpec`, gives an open `Source`."""

import glob
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import cv2

from edge_app.capture.ffmpeg import limit_allocations
from edge_app.capture.images import to_bgr
from edge_app.capture.probe import too_large
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from edge_app.records import Pixels

log = logging.getLogger(__name__)
_JETSON = Path("/etc/nv_tegra_release")
_HEAD_BYTES = 4096
_PROBE_S = 5.0


class _CaptureSource(Source):
    """A `cv2.VideoCapture` that is open. Frames may change size; a stream of known length counts as a file.

    why: gives the reason why there is no first frame. timeout_s: of a read; a timeout is a loss, not the end.
    """

    def __init__(
        self, capture: cv2.VideoCapture, spec: SourceSpec, why: Callable[[], str], timeout_s: float = math.inf
    ) -> None:
        self._capture, self._display, self._timeout_s = capture, spec.display, timeout_s
        fps, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known_fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else None
        known_count = int(count) if math.isfinite(count) and 0 < count < 1e9 else None
        self._step = 1 / (known_fps or 25.0)
        self._live = spec.live and not (spec.kind == "stream" and known_count)
        self._count, self._time = 0, 0.0
        self.files = ExitStack()  # open for as long as the capture reads them
        self._expected = None if self._live else known_count
        try:
            size = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if problem := too_large(size):
                raise SourceError(f"{spec.display}: cannot be opened: {problem}")
            self._first = self._decode() if capture.isOpened() else None
            if self._first is None:
                raise SourceError(f"{spec.display}: cannot be opened: {why()}")
        except BaseException:
            capture.release()
            raise
        height, width = self._first[0].shape[:2]
        self.info = SourceInfo(spec.display, spec.kind, self._live, width, height, known_fps, self._expected)

    def read(self) -> tuple[Pixels, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        asked_at = time.monotonic()
        frame = self._decode()
        if frame is None and time.monotonic() - asked_at > 0.9 * self._timeout_s:
            raise SourceError(f"{self._display}: no frame for {self._timeout_s:g} s")
        if frame is None and self._expected and self._count < 0.9 * self._expected:
            log.warning("%s: ends early: %d of %d frames could be read", self._display, self._count, self._expected)
            self._expected = None
        return frame

    def _decode(self) -> tuple[Pixels, float] | None:
        try:
            ok, image = self._capture.read()
        except cv2.error as error:
            raise SourceError(f"{self._display}: cannot be decoded ({error.err})") from None
        if not ok or image is None or image.size == 0:
            return None
        if self._live:
            return to_bgr(image), time.monotonic()
        stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._count:  # time stamps that stand still or run backwards are replaced by the frame rate
            self._time = stamp if math.isfinite(stamp) and stamp > self._time else self._time + self._step
        self._count += 1
        return to_bgr(image), self._time

    def close(self) -> None:
        self._capture.release()
        self.files.close()


@cache
def _prepare() -> None:
    """Once in a process, before anything is opened; not when we are imported, for it changes what others may use."""
    # Every failure becomes one line of ours; OpenCV and FFmpeg would print theirs, URLs with passwords included.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    limit_allocations()


def _capture(what: str | int, backend: int, parameters: Sequence[int] = ()) -> cv2.VideoCapture:
    _prepare()
    return cv2.VideoCapture(what, backend, parameters)


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
    return _CaptureSource(capture, spec, lambda: "the camera gives no frames: another program may be using it")


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
    return _CaptureSource(capture, spec, lambda: "the pipeline gives no frames: try it with gst-launch-1.0")


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

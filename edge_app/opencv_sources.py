"""Videos, cameras, streams and pipelines through `cv2.VideoCapture`: takes a `SourceSpec`, gives an open `Source`."""

import glob
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from edge_app.errors import SourceError
from edge_app.pictures import Picture, to_bgr
from edge_app.reach import check_reachable, why_unreadable
from edge_app.settings import SourceSettings
from edge_app.sources import Source, SourceInfo, SourceSpec

log = logging.getLogger(__name__)
_JETSON = Path("/etc/nv_tegra_release")
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_USER_FFMPEG_OPTIONS = os.environ.get(_FFMPEG_OPTIONS)

# Every failure becomes one line of ours; OpenCV and FFmpeg would print theirs, URLs with passwords included.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class _FfmpegOptions:
    """FFmpeg's options for the streams that open now; OpenCV takes them from the environment of the process alone.

    Streams with the same options open side by side; others wait for them, `patience_s` seconds at most.
    """

    def __init__(self) -> None:
        self._changed, self._opening = threading.Condition(), 0

    @contextmanager
    def __call__(self, text: str, patience_s: float) -> Iterator[None]:
        if _USER_FFMPEG_OPTIONS is not None:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._opening or os.environ.get(_FFMPEG_OPTIONS) == text, patience_s)
            self._opening += 1
            if os.environ.get(_FFMPEG_OPTIONS) != text:
                os.environ[_FFMPEG_OPTIONS] = text
        try:
            yield
        finally:
            with self._changed:
                self._opening -= 1
                self._changed.notify_all()


_ffmpeg_options = _FfmpegOptions()


class _CaptureSource(Source):
    """A `cv2.VideoCapture` that is open. Frames may change size; a stream of known length counts as a file.

    why: tells why there is no first frame. timeout_s: after which a read gives up, which is a loss and no end.
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
        self._expected = None if self._live else known_count
        try:
            self._first = self._decode() if capture.isOpened() else None
            if self._first is None:
                raise SourceError(f"{spec.display}: cannot be opened: {why()}")
        except BaseException:
            capture.release()
            raise
        height, width = self._first[0].shape[:2]
        self.info = SourceInfo(spec.display, spec.kind, self._live, width, height, known_fps, self._expected)

    def read(self) -> tuple[Picture, float] | None:
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

    def _decode(self) -> tuple[Picture, float] | None:
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


def open_file(spec: SourceSpec, settings: SourceSettings) -> Source:
    path = Path(spec.uri)
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise SourceError(f"{spec.display}: the file is empty")
    except FileNotFoundError:
        raise SourceError(f"{spec.display}: no such file") from None
    except OSError as error:
        raise SourceError(f"{spec.display}: cannot be read ({error.strerror})") from None
    # "file:" keeps FFmpeg from reading a name such as 12:30.mp4 as a protocol, or 100%d.mp4 as a pattern.
    # The models need the other cores, and every decoder thread holds pictures: two cost 30 MiB more at 1080p than one.
    threads = settings.decode_threads or max(1, (os.cpu_count() or 1) // 2)
    capture = cv2.VideoCapture(f"file:{path}", cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    return _CaptureSource(capture, spec, lambda: why_unreadable(f"file:{path}", 5.0))


def open_stream(spec: SourceSpec, settings: SourceSettings) -> Source:
    deadline = time.monotonic() + settings.open_timeout_s
    check_reachable(spec.uri, settings.open_timeout_s)
    options: dict[str, str] = {}
    if spec.uri.startswith("rtsp"):
        # By default FFmpeg watches a second of the stream to guess its rate, which the first frames are then late.
        options = {"rtsp_transport": settings.rtsp_transport, "fpsprobesize": "2"}
    parameters = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: max(500, round((deadline - time.monotonic()) * 1000)),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: round(settings.read_timeout_s * 1000),
        cv2.CAP_PROP_N_THREADS: 1,  # several decoder threads would hold back as many frames
    }
    with _ffmpeg_options("|".join(f"{k};{v}" for k, v in options.items()), settings.open_timeout_s):
        capture = cv2.VideoCapture(spec.uri, cv2.CAP_FFMPEG, [v for pair in parameters.items() for v in pair])

    def why() -> str:
        if time.monotonic() >= deadline - 0.1:
            return f"connected, but no video within {settings.open_timeout_s:g} s"
        return why_unreadable(spec.uri, min(3.0, settings.open_timeout_s), options)

    return _CaptureSource(capture, spec, why, settings.read_timeout_s)


def open_camera(spec: SourceSpec, settings: SourceSettings) -> Source:
    linux = sys.platform.startswith("linux")
    device = Path(f"/dev/video{spec.uri}" if spec.uri.isdecimal() else spec.uri)
    if linux and not device.exists():
        here = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"  # noqa: PTH207
        raise SourceError(f"{spec.display}: no camera at {device}; cameras here: {here}")
    if linux and not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"{device}: no permission: add yourself to the group of this file (usually `video`)")
    backend = cv2.CAP_V4L2 if linux else cv2.CAP_ANY
    capture = cv2.VideoCapture(int(spec.uri), backend) if spec.uri.isdecimal() else cv2.VideoCapture(spec.uri, backend)
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


def open_gstreamer(spec: SourceSpec, pipeline: str) -> Source:
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise SourceError(
            f"{spec.display}: this OpenCV has no GStreamer (the pip wheels have none): "
            "use the system's OpenCV (python3-opencv), or a camera index, file or URL"
        )
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
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

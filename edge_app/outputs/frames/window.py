"""The live picture in a window. Nothing else touches OpenCV's GUI: without a display Qt ends the whole process."""

import os
import subprocess
import sys

import cv2

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import Settings
from edge_app.errors import SinkError, UsageError
from edge_app.outputs.output import FrameOutput
from edge_app.outputs.overlay import annotate
from edge_app.records import FrameResult

_HINT = "run with --headless, or --output video.mp4 to look later"
_PROBE = "import cv2; cv2.namedWindow('edge_app'); cv2.waitKey(1); cv2.destroyAllWindows()"
_KEYS = (ord("q"), ord("Q"), 27)  # 27: Esc


def display_problem() -> str | None:
    """Why no window can be shown here, or None where one can.

    A window is tried in another process first: with a display that refuses us, Qt would abort this one.
    """
    gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "GUI: ?")
    if "NONE" in gui.upper():
        return "this OpenCV was built without windows: install opencv-python in place of opencv-python-headless"
    if sys.platform.startswith("linux"):
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return "there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)"
        try:
            probe = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=30)
        except subprocess.TimeoutExpired:
            return "the display does not answer"
        if probe.returncode != 0:
            shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
            return f"the display {shown} cannot be used (wrong number, no permission, or its libraries are missing)"
    return None


def open_window(settings: Settings, info: SourceInfo) -> FrameOutput:
    return WindowOutput()


class WindowOutput(FrameOutput):
    """Shows the newest annotated frame. `closed_by_user` turns True on q, Esc or the window's close button.

    `write` only hands a frame over; `refresh` draws it, in the main thread, as GUI toolkits insist.

    Raises:
        UsageError: no window can be shown here.
    """

    name = "window"
    retry_s = 1.0

    def __init__(self, title: str = "edge_app") -> None:
        if problem := display_problem():
            raise UsageError(f"--show: {problem}; {_HINT}")
        self._title = title
        self._newest: FrameResult | None = None
        self._error: str | None = None
        self._open = self._closed = False

    def write(self, result: FrameResult) -> None:
        """Hand a frame over.

        Raises:
            SinkError: the one before could not be drawn, for the display went away.
        """
        self._newest = result
        if self._error is not None:
            raise SinkError(self._error)

    def refresh(self) -> None:
        """Show the newest frame, if it is not shown yet, and take the keys pressed since the last call."""
        try:
            if self._closed or self.closed_by_user:
                self._take_down()
                return
            result, self._newest = self._newest, None
            if result is not None:
                self._show(result)
            if self._open:
                key = cv2.waitKey(1) & 0xFF
                self.closed_by_user = key in _KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
                self._error = None
        except cv2.error as error:  # told by `write`, so that one frame is one failure however often this is called
            self._error, self._open = f"the window cannot be drawn ({error.err})", False

    def close(self) -> None:
        self._closed = True

    def _show(self, result: FrameResult) -> None:
        if not self._open:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(self._title, *result.frame.size)
            self._open = True
        cv2.imshow(self._title, annotate(result))

    def _take_down(self) -> None:
        if self._open:
            self._open = False
            cv2.destroyAllWindows()
            cv2.waitKey(1)  # lets the toolkit carry the closing out

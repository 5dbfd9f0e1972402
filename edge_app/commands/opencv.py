"""Before a command loads OpenCV: keep its own log off the screen, and say what it lacks."""

import os
import re

from edge_app.errors import UsageError


def quiet_opencv() -> None:
    """Keep OpenCV's own log lines off the screen: what matters comes as our one error line."""
    if not os.environ.get("EDGE_APP_DEBUG"):
        os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")


def require_opencv() -> None:
    """Import cv2, or say in one line what the system lacks.

    Raises:
        UsageError: cv2 or a system library that it needs is missing.
    """
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise explain_import_error(error) from None


def explain_import_error(error: ImportError) -> UsageError:
    """For an `import cv2` that failed: everything that is missing, and what to install."""
    from edge_app import shared_libraries  # late: ctypes is more than help needs

    named = re.search(r"(lib\S+\.so[.\d]*): cannot open", str(error))
    missing = shared_libraries.missing_from_opencv() or ([named[1]] if named else [])
    if missing:
        return UsageError(*shared_libraries.explain(missing))
    return UsageError(f"OpenCV cannot be imported ({error})", "pip install opencv-python")

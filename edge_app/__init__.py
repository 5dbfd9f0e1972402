"""edge_app: camera in, mask verdicts out. As a command `edge-app`, and from Python:

    from edge_app import Analyzer, watch

    analyzer = Analyzer()                     # opens the models once
    for face in analyzer("photo.jpg"):        # a path, or a uint8 (H, W, 3) BGR array
        print(face.label, face.box)           # mask, no_mask or unsure; pixels

    for result in watch("rtsp://camera/1"):   # any SOURCE of `edge-app run`
        for event in result.events:
            print(event.type, event.label)

What goes wrong is an `EdgeAppError`, whose text is one line that says what to do. Importing edge_app loads nothing:
each name is fetched when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_app.config.settings import Settings
    from edge_app.errors import EdgeAppError
    from edge_app.records import FrameResult
    from edge_app.runtime.watch import watch
    from edge_app.vision.analyzer import Analyzer, Face

__version__ = "0.1.0"
__all__ = ["Analyzer", "EdgeAppError", "Face", "FrameResult", "Settings", "watch"]

_HOMES = {
    "Analyzer": "vision.analyzer",
    "EdgeAppError": "errors",
    "Face": "vision.analyzer",
    "FrameResult": "records",
    "Settings": "config.settings",
    "watch": "runtime.watch",
}

if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

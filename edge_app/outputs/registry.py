"""Which outputs there are: setting -> factory. To add one takes a module, its settings, and a line here.

An output is opened where its setting is given: neither null nor false. Factories are named by text and imported only
then, for some need packages that nobody else should have to load.
"""

from collections.abc import Iterator
from operator import attrgetter
from pkgutil import resolve_name
from typing import Any

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import Settings
from edge_app.outputs.output import EventOutput, FrameOutput

EVENT_OUTPUTS = {
    "output.events": "edge_app.outputs.events.jsonl:open_jsonl",
}  # `(settings) -> EventOutput`
FRAME_OUTPUTS = {
    "output.video": "edge_app.outputs.frames.video:open_video",
    "output.show": "edge_app.outputs.frames.window:open_window",
}  # `(settings of the camera, info of its source) -> FrameOutput`


def event_outputs(settings: Settings) -> Iterator[EventOutput]:
    """Opens those that are wanted, one by one. Raises: as each."""
    for factory in _wanted(EVENT_OUTPUTS, settings):
        yield factory(settings)


def frame_outputs(settings: Settings, info: SourceInfo) -> Iterator[FrameOutput]:
    """As `event_outputs`, for one camera."""
    for factory in _wanted(FRAME_OUTPUTS, settings):
        yield factory(settings, info)


def _wanted(outputs: dict[str, str], settings: Settings) -> Iterator[Any]:
    for key, factory in outputs.items():
        value: Any = attrgetter(key)(settings)
        if value is not None and value is not False:
            yield resolve_name(factory)

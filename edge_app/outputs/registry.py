"""Which outputs there are: setting -> factory. To add one takes a module, its settings, and a line here.

An output is opened where its setting is given: neither null nor false. Factories are named by text and imported only
then, for some need packages that nobody else should have to load.
"""

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pkgutil import resolve_name
from typing import Any

from edge_app.config.settings import Settings

EVENT_OUTPUTS = {
    "output.events": "edge_app.outputs.events.jsonl:open_jsonl",
}  # `(settings) -> EventOutput`
FRAME_OUTPUTS = {
    "output.video": "edge_app.outputs.frames.video:open_video",
    "output.show": "edge_app.outputs.frames.window:open_window",
}  # `(settings of the camera, info of its source) -> FrameOutput`


def wanted(outputs: Mapping[str, str], settings: Settings) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Those of the outputs whose setting is given: its last word, and the factory."""
    for key, factory in outputs.items():
        value: Any = attrgetter(key)(settings)
        if value is not None and value is not False:
            yield key.rpartition(".")[2], resolve_name(factory)

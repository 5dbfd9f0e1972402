"""Outputs that tests add to a run, in the way that any output is added: by a line in the registry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import Settings
from edge_app.outputs import registry
from edge_app.outputs.output import FrameOutput
from edge_app.records import FrameResult

Take = Callable[[str, FrameResult], None]
taking: list[Take] = []


class Tap(FrameOutput):
    """Gives a function the camera's name and each of its results."""

    name = "tap"

    def __init__(self, camera: str, take: Take) -> None:
        self._camera, self._take = camera, take

    def write(self, result: FrameResult) -> None:
        self._take(self._camera, result)


def open_tap(settings: Settings, info: SourceInfo) -> FrameOutput:
    return Tap(settings.source.camera, taking[-1])


@contextmanager
def every_result(take: Take) -> Iterator[None]:
    """The runs inside give each result to `take` too."""
    taking.append(take)
    try:
        with patch.dict(
            registry.FRAME_OUTPUTS, {"profile": "tests.outputs:open_tap"}
        ):  # a setting that is always there
            yield
    finally:
        taking.pop()

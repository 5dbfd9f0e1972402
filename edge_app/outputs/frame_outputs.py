"""The frame outputs of one camera, opened together, fed together, closed together."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import Settings
from edge_app.errors import EdgeAppError
from edge_app.outputs import registry
from edge_app.outputs.output import FrameOutput, Isolation, Outputs
from edge_app.records import FrameResult


class FrameOutputs(Outputs):
    """A context manager. One that fails does not disturb the others.

    Args:
        settings: of the camera.
        info: of its source.
        needed: whether an output that cannot be opened is an error; else the camera goes on without it.

    Raises (on construction):
        UsageError, SinkError: an output that cannot work at all; those opened before it are closed again.
    """

    def __init__(self, settings: Settings, info: SourceInfo, needed: bool = True) -> None:
        self._outputs: list[tuple[FrameOutput, Isolation]] = []
        self._missing: list[Isolation] = []
        with ExitStack() as opened:
            opened.callback(self.close)  # those that are open, where a later one fails
            for name, factory in registry.wanted(registry.FRAME_OUTPUTS, settings):
                try:
                    output: FrameOutput = factory(settings, info)
                except EdgeAppError as error:
                    if needed:
                        raise
                    self._missing.append(Isolation(name))
                    self._missing[-1].failed(error)
                else:
                    self._outputs.append((output, Isolation(output.name, output.retry_s)))
            opened.pop_all()

    @property
    def paths(self) -> dict[str, Path]:
        """Output -> the file that it writes, which may have another name than the one asked for."""
        return {output.name: output.path for output, _ in self._outputs if output.path}

    @property
    def closed_by_user(self) -> bool:
        return any(output.closed_by_user for output, _ in self._outputs)

    @property
    def failed(self) -> list[str]:
        """What each output that does not work now last said; after closing: whose file is not complete."""
        return [isolation.last_error for isolation in self.isolations() if isolation.last_error]

    def isolations(self) -> list[Isolation]:
        return [isolation for _, isolation in self._outputs] + self._missing

    def write(self, result: FrameResult) -> None:
        for output, isolation in self._outputs:
            isolation.attempt(partial(output.write, result))

    def refresh(self) -> None:
        """See `FrameOutput.refresh`."""
        for output, isolation in self._outputs:
            isolation.attempt_now(output.refresh)

    def close(self) -> None:
        for output, isolation in self._outputs:
            isolation.attempt_now(output.close)

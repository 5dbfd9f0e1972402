"""The sinks of one run, opened together, fed together, closed together. One that fails does not disturb the others."""

import contextlib
from typing import TYPE_CHECKING, Any, Self

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import OutputSettings
from edge_app.errors import SinkError
from edge_app.outputs.jsonl import JsonlSink, SharedJsonlSink
from edge_app.outputs.queued import QueuedSink
from edge_app.outputs.sink import IsolatedSink
from edge_app.outputs.summary import SummarySink
from edge_app.outputs.window import WindowSink
from edge_app.records import Event, FrameResult

if TYPE_CHECKING:
    from edge_app.outputs.video import VideoSink


class Outputs:
    """A context manager. tally: what has been counted so far.

    Args:
        settings: which outputs.
        info: of the source.
        events: an events file that other runs share, in place of `settings.events`.
        max_fps: the highest rate that is taken from the source.

    Raises (on construction):
        UsageError, SinkError: an output that cannot work at all; those opened before it are closed again.
    """

    def __init__(
        self,
        settings: OutputSettings,
        info: SourceInfo,
        events: SharedJsonlSink | None = None,
        max_fps: float | None = None,
    ) -> None:
        self._settings, mode = settings, settings.permissions
        self.tally = SummarySink(settings.summary, mode)
        self._video: VideoSink | None = None
        self._sinks: list[IsolatedSink] = []
        self._events: JsonlSink | SharedJsonlSink | None = events
        self._window: WindowSink | None = None
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)  # those that are open, where a later one fails
            if self._events is None and settings.events:
                self._events = JsonlSink(settings.events, mode)
            if self._events is not None:
                self._sinks.append(IsolatedSink(self._events))
            if settings.video:
                from edge_app.outputs import video  # PyAV: 15 MiB that a run without a video does not need

                fps = min(filter(None, (info.fps, max_fps if info.live else None)), default=None)
                self._video = video.VideoSink(settings.video, fps, mode, settings.overwrite)
                self._sinks.append(
                    IsolatedSink(QueuedSink(self._video, info.live, str(settings.video)))
                )  # encoding is slow
            if settings.show:
                self._window = WindowSink()
                self._sinks.append(IsolatedSink(self._window))
            opened.pop_all()

    @property
    def paths(self) -> dict[str, str | None]:
        """Kind -> path or None. The video may have another name than the one asked for, which was not free."""
        video = self._video.path if self._video else None
        found = {"video": video, "events": self._settings.events, "summary": self._settings.summary}
        return {kind: str(path) if path else None for kind, path in found.items()}

    @property
    def closed_by_user(self) -> bool:
        return self._window is not None and self._window.closed_by_user

    @property
    def errors(self) -> int:
        """Failed writes of all sinks."""
        return sum(sink.errors for sink in self._sinks)

    @property
    def errors_by_sink(self) -> dict[str, int]:
        """Failed writes of each sink that is in use."""
        return {sink.name: sink.errors for sink in self._sinks}

    @property
    def failed(self) -> list[str]:
        """What each sink that does not work now last said; after closing: whose output is not complete."""
        return [sink.last_error for sink in self._sinks if sink.last_error]

    def write(self, result: FrameResult) -> None:
        self.tally.write(result)
        for sink in self._sinks:
            sink.write(result)

    def write_events(self, events: list[Event]) -> None:
        """Events that belong to no frame: the ends of those still in view when a run stops."""
        self.tally.count(events)
        if self._events:
            with contextlib.suppress(SinkError):  # they are held, and closing tries once more and reports
                self._events.append(events)

    def write_summary(self, facts: dict[str, Any]) -> list[str]:
        """Write the summary file, if one is wanted. Gives why it is not complete, if it is not."""
        return self.tally.finish(facts)

    def reopen(self) -> None:
        """Open the events file anew before the next write: log rotation has moved it. Safe in a signal handler."""
        if self._events:
            self._events.reopen()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

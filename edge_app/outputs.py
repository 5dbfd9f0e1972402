"""The sinks of one run, opened together, fed together, closed together. One that fails does not disturb the others."""

import contextlib
from typing import Any, Self

from edge_app.errors import SinkError
from edge_app.events import Event
from edge_app.frames import FrameResult
from edge_app.settings import OutputSettings
from edge_app.sinks import IsolatedSink
from edge_app.sinks.jsonl import JsonlSink, SharedJsonlSink
from edge_app.sinks.queued import QueuedSink
from edge_app.sinks.summary import SummarySink
from edge_app.sinks.window import WindowSink
from edge_app.sources import SourceInfo


class Outputs:
    """A context manager. tally: what has been counted so far; paths: kind -> path or None.

    Args:
        settings: which outputs.
        info: of the source.
        events: an events file that other runs share, in place of `settings.events`.

    Raises (on construction):
        UsageError, SinkError: an output that cannot work at all; those opened before it are closed again.
    """

    def __init__(self, settings: OutputSettings, info: SourceInfo, events: SharedJsonlSink | None = None) -> None:
        self.paths = {
            kind: str(path) if path else None
            for kind, path in (("video", settings.video), ("events", settings.events), ("summary", settings.summary))
        }
        self.tally = SummarySink(settings.summary)
        self._sinks: list[IsolatedSink] = []
        self._events: JsonlSink | SharedJsonlSink | None = events
        self._window: WindowSink | None = None
        with contextlib.ExitStack() as opened:
            opened.callback(self.close)  # those that are open, where a later one fails
            if self._events is None and settings.events:
                self._events = JsonlSink(settings.events)
            if self._events is not None:
                self._sinks.append(IsolatedSink(self._events))
            if settings.video:
                from edge_app.sinks.video import VideoSink  # PyAV: 15 MiB that a run without a video does not need

                video = VideoSink(settings.video, info.fps)
                self._sinks.append(IsolatedSink(QueuedSink(video, info.live)))  # encoding is slow
            if settings.show:
                self._window = WindowSink()
                self._sinks.append(IsolatedSink(self._window))
            opened.pop_all()

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

    def write_summary(self, facts: dict[str, Any]) -> None:
        """Write the summary file, if one is wanted."""
        self.tally.extra = facts
        self.tally.close()

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

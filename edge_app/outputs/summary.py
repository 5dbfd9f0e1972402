"""What a run came to: takes results, counts frames, persons and verdicts; may write them to a JSON file."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

from edge_app.errors import SinkError
from edge_app.outputs import files
from edge_app.records import Event, FrameResult, Label

log = logging.getLogger(__name__)


class SummarySink:
    """Counts a run. Each person counts once, under the last label told of them.

    Args:
        path: JSON file that `close` writes; None: none. What is there stays until then.
        mode: permissions of a new file.

    Raises:
        SinkError: the file cannot be written there.
    """

    name = "summary"
    retry_s = 0.0
    catches_up = False

    def __init__(self, path: Path | None = None, mode: int = files.PRIVATE) -> None:
        self._path, self._mode = path, mode
        self.extra: dict[str, Any] = {}
        self.frames = self.faces = self.events = 0
        self._verdicts: Counter[Label] = Counter()
        self._label_changes: Counter[Label] = Counter()
        self.events_by_type: Counter[tuple[str, Label]] = Counter()
        self._open: dict[str, Label] = {}  # of stories not yet ended, so that memory does not grow with the day
        self._first_time: float | None = None
        self._last_time = 0.0
        if path is not None:
            try:
                files.check_replaceable(path)
            except OSError as error:
                raise SinkError(f"{path}: the summary cannot be written here ({error.strerror})") from None

    def write(self, result: FrameResult) -> None:
        self.frames += 1
        self.faces += len(result.detections)
        self._last_time = result.frame.time
        if self._first_time is None:
            self._first_time = result.frame.time
        self.count(result.events)

    def count(self, events: list[Event]) -> None:
        """Take in events that belong to no frame, such as the last ones of a run."""
        self.events += len(events)
        for event in events:
            self.events_by_type[event.type, event.label] += 1
            before = self._open.pop(event.id, None)
            if before is not None:
                self._verdicts[before] -= 1
            self._verdicts[event.label] += 1
            if event.type != "end":
                self._label_changes[event.label] += 1
                self._open[event.id] = event.label

    @property
    def media_seconds(self) -> float:
        """From the first to the last frame, by the source's own clock."""
        return round(self._last_time - (self._first_time or 0.0), 3)

    @property
    def persons(self) -> int:
        return sum(self._verdicts.values())

    @property
    def verdicts(self) -> dict[str, int]:
        """How many persons were last told to be mask, no_mask or unsure."""
        return _by_label(self._verdicts)

    @property
    def present(self) -> dict[str, int]:
        """How many persons are in view now, by the last label told of them."""
        return _by_label(Counter([*self._open.values()]))

    @property
    def label_changes(self) -> dict[str, int]:
        """How often each label was told, as a person's first verdict or as a change."""
        return _by_label(self._label_changes)

    def to_dict(self) -> dict[str, Any]:
        """The counts, then `extra`: whatever else the run wants to tell."""
        return {
            "frames": self.frames,
            "media_seconds": self.media_seconds,
            "faces": self.faces,
            "persons": self.persons,
            "verdicts": self.verdicts,
            "events": self.events,
            **self.extra,
        }

    def finish(self, facts: dict[str, Any]) -> list[str]:
        """Write the file with these facts as `extra`. Gives why it is not complete, if it is not: what was counted is
        worth telling all the same."""
        self.extra = facts
        try:
            self.close()
        except SinkError as error:
            log.error("%s: %s", self.name, error)
            return [str(error)]
        return []

    def close(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            SinkError: it cannot be written.
        """
        if self._path is None:
            return
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        try:
            # File names may hold bytes that are no text; so written they are JSON's own escapes.
            files.replace(self._path, text.encode("utf-8", "backslashreplace"), self._mode)
        except OSError as error:
            raise SinkError(f"{self._path}: the summary cannot be written ({error.strerror})") from None


def _by_label(counts: Counter[Label]) -> dict[str, int]:
    return {"mask": counts["mask"], "no_mask": counts["no_mask"], "unsure": counts["unsure"]}

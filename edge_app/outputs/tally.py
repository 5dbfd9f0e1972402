"""What a camera's run has come to: takes results and events, counts frames, persons, verdicts and label changes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from edge_app.records import Event, FrameResult, Label


class Tally:
    """Counts a run. Each person counts once, under the last label of their events."""

    def __init__(self) -> None:
        self.frames = self.faces = self.events = 0
        self._verdicts: Counter[Label] = Counter()
        self._label_changes: Counter[Label] = Counter()
        self.events_by_type: Counter[tuple[str, Label]] = Counter()
        self._open: dict[str, Label] = {}  # persons without an `end`: memory must not grow with the day
        self._first_time: float | None = None
        self._last_time = 0.0

    def add(self, result: FrameResult) -> None:
        """Count a frame; its events are counted by `count`."""
        self.frames += 1
        self.faces += len(result.detections)
        self._last_time = result.frame.time
        if self._first_time is None:
            self._first_time = result.frame.time

    def count(self, events: Sequence[Event]) -> None:
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
        """How many persons were last found to be mask, no_mask or unsure."""
        return _by_label(self._verdicts)

    @property
    def present(self) -> dict[str, int]:
        """How many persons are in view now, by their last label."""
        return _by_label(Counter([*self._open.values()]))

    @property
    def label_changes(self) -> dict[str, int]:
        """How often each label was confirmed, as a person's first verdict or as a change."""
        return _by_label(self._label_changes)


def sum_of(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Several counts by label as one."""
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return dict(total)


def _by_label(counts: Counter[Label]) -> dict[str, int]:
    return {"mask": counts["mask"], "no_mask": counts["no_mask"], "unsure": counts["unsure"]}

"""The event lifecycle of a person: takes each frame's result, gives the events `new`, `update` and `end`.

`new` comes with the first verdict of mask or no_mask, or as unsure when a person has stayed undecided for a while;
`update` with each confirmed change of the label, `end` when the person has been out of sight for a while. Falling back
to unsure is no change: the last confirmed label stands.
"""

import math
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from edge_app.people.windows import UNSURE_AFTER_S
from edge_app.records import SCHEMA, Event, FrameResult, Label, Verdict


@dataclass(slots=True)
class _Person:
    id: str
    track_id: int
    first_time: float  # seconds of the frame clock
    started_at: float  # wall time
    verdict: Verdict
    box: tuple[float, float, float, float]
    last_time: float
    last_wall: float
    label: Label | None = None  # of the last event; None: no event yet
    frames: int = 0


class Lifecycle:
    """Keeps the event state of every person in view. Thread-safe.

    lost_s: a person unseen for longer than this, in seconds of frame time, has left. unsure_after_s: a person undecided
    for this long gets a `new` event with the label unsure.

    Args:
        camera: name of the camera in the events.
        lost_s, unsure_after_s: see above.
    """

    def __init__(self, camera: str, lost_s: float, unsure_after_s: float = UNSURE_AFTER_S) -> None:
        self._camera, self.lost_s, self.unsure_after_s = camera, lost_s, unsure_after_s
        self._persons: dict[int, _Person] = {}
        self._lock = threading.Lock()
        self._size = (0, 0)
        self._wall = self._captured_at = 0.0

    def update(self, result: FrameResult) -> list[Event]:
        """What changed with this frame. Rows of unconfirmed tracks (tracker_id -1) are skipped."""
        with self._lock:
            return self._update(result)

    def expire(self, time: float, wall_time: float) -> list[Event]:
        """The `end` of everyone unseen for longer than `lost_s` by now, although no frame has come."""
        with self._lock:
            self._wall = wall_time
            return [event for event in self._ends(time) if event]

    def close(self) -> list[Event]:
        """The `end` of everyone in view."""
        with self._lock:
            return [event for event in self._ends(math.inf) if event]

    def _update(self, result: FrameResult) -> list[Event]:
        frame, detections = result.frame, result.detections
        self._size = frame.size
        self._wall, self._captured_at = frame.wall_time, frame.captured_at
        events = self._ends(frame.time)
        ids = detections.tracker_id if detections.tracker_id is not None else ()
        for tracker_id, xyxy, verdict in zip(ids, detections.xyxy, result.verdicts, strict=False):
            if tracker_id < 0:
                continue
            x0, y0, x1, y1 = (round(float(v), 1) for v in xyxy)
            person = self._persons.get(int(tracker_id))
            if person is None:
                person = _Person(
                    uuid.uuid4().hex, int(tracker_id), frame.time, frame.wall_time, verdict, (x0, y0, x1, y1),
                    frame.time, frame.wall_time,
                )  # fmt: skip
                self._persons[person.track_id] = person
            person.verdict, person.box = verdict, (x0, y0, x1, y1)
            person.last_time, person.last_wall = frame.time, frame.wall_time
            person.frames += 1
            if event := self._confirm(person):
                events.append(event)
        return [event for event in events if event is not None]

    def _ends(self, time: float) -> list[Event | None]:
        return [self._end(person) for person in [*self._persons.values()] if time - person.last_time > self.lost_s]

    def _confirm(self, person: _Person) -> Event | None:
        label = person.verdict.label
        if label == "unsure" and (person.label or person.last_time - person.first_time < self.unsure_after_s):
            return None
        if label == person.label:
            return None
        kind: Literal["new", "update"] = "update" if person.label else "new"
        person.label = label
        return self._event(kind, person, label)

    def _end(self, person: _Person) -> Event | None:
        del self._persons[person.track_id]
        return self._event("end", person, person.label) if person.label else None

    def _event(self, kind: Literal["new", "update", "end"], person: _Person, label: Label) -> Event:
        verdict = person.verdict
        sides: dict[Label, float] = {"mask": verdict.mask_probability, "no_mask": 1 - verdict.mask_probability}
        return Event(
            type=kind,
            schema=SCHEMA,
            id=person.id,
            camera=self._camera,
            time=_rfc3339(self._wall),
            track_id=person.track_id,
            label=label,
            # The verdict may have gone back to unsure since: the confidence is that of the event's label.
            confidence=_number(sides.get(label, verdict.confidence)),
            mask_probability=_number(verdict.mask_probability),
            box=person.box,
            frame_size=self._size,
            started_at=_rfc3339(person.started_at),
            ended_at=_rfc3339(person.last_wall) if kind == "end" else None,
            frames=person.frames,
            frame_age_ms=round(max(0.0, time.monotonic() - self._captured_at) * 1000, 1),
        )


def _number(value: float) -> float:
    """Rounded, for JSON, which has no infinity and no NaN."""
    return round(value, 4) if math.isfinite(value) else 0.0


def _rfc3339(wall_time: float) -> str:
    """Broken time stamps of a file may be beyond the year 9999, where the calendar ends: then the time is now."""
    try:
        moment = datetime.fromtimestamp(wall_time, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.now(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

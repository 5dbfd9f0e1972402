"""One person, one story: takes each frame's result, gives the events `new`, `update` and `end` of every person.

A story begins with the first verdict of mask or no_mask, or as unsure when a person has stayed undecided for
`UNSURE_AFTER_S`; it goes on with each confirmed change and ends when the person has been out of sight for a while.
Falling back to unsure is no change: the last confirmed label stands.
"""

import json
import time
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from edge_app.frames import FrameResult
from edge_app.verdicts import Label, Verdict

UNSURE_AFTER_S = 2.0
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the events file.

    id: of the person's story, the same in all its events. time, started_at, ended_at: RFC 3339, UTC, milliseconds;
    started_at is when the person was first seen, ended_at when last (null until `end`). box: x0, y0, x1, y1 in
    pixels of the frame, where last seen. frames: in how many frames the person was seen. frame_age_ms: from the
    picture's decoding to this event.
    """

    type: Literal["new", "update", "end"]
    schema: int
    id: str
    camera: str
    time: str
    track_id: int
    label: Label
    confidence: float
    mask_probability: float
    box: tuple[float, float, float, float]
    frame_size: tuple[int, int]
    started_at: str
    ended_at: str | None
    frames: int
    frame_age_ms: float

    def to_json(self) -> str:
        """The event as one line of JSON, without the line end."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


@dataclass(slots=True)
class _Story:
    id: str
    track_id: int
    first_time: float  # seconds of the frame clock
    started_at: float  # wall time
    verdict: Verdict
    box: tuple[float, float, float, float]
    last_time: float
    last_wall: float
    label: Label | None = None  # as last told; None: nothing told yet
    frames: int = 0


class Lifecycle:
    """Keeps the story of every person in view.

    Args:
        camera: name of the camera in the events.
        lost_s: a person unseen for longer than this, in seconds of frame time, has left.
    """

    def __init__(self, camera: str, lost_s: float) -> None:
        self._camera, self._lost_s = camera, lost_s
        self._stories: dict[int, _Story] = {}
        self._size = (0, 0)
        self._wall = self._captured_at = 0.0

    def update(self, result: FrameResult) -> list[Event]:
        """What changed with this frame. Rows without a confirmed person (tracker_id -1) are passed over."""
        frame, detections = result.frame, result.detections
        self._size = (frame.image.shape[1], frame.image.shape[0])
        self._wall, self._captured_at = frame.wall_time, frame.captured_at
        events = [self._end(s) for s in [*self._stories.values()] if frame.time - s.last_time > self._lost_s]
        ids = detections.tracker_id if detections.tracker_id is not None else ()
        for tracker_id, xyxy, verdict in zip(ids, detections.xyxy, result.verdicts, strict=False):
            if tracker_id < 0:
                continue
            x0, y0, x1, y1 = (round(float(v), 1) for v in xyxy)
            story = self._stories.get(int(tracker_id))
            if story is None:
                story = _Story(
                    uuid.uuid4().hex, int(tracker_id), frame.time, frame.wall_time, verdict, (x0, y0, x1, y1),
                    frame.time, frame.wall_time,
                )  # fmt: skip
                self._stories[story.track_id] = story
            story.verdict, story.box = verdict, (x0, y0, x1, y1)
            story.last_time, story.last_wall = frame.time, frame.wall_time
            story.frames += 1
            if event := self._tell(story):
                events.append(event)
        return [event for event in events if event is not None]

    def close(self) -> list[Event]:
        """End every open story."""
        return [event for story in [*self._stories.values()] if (event := self._end(story))]

    def _tell(self, story: _Story) -> Event | None:
        label = story.verdict.label
        if label == "unsure" and (story.label or story.last_time - story.first_time < UNSURE_AFTER_S):
            return None
        if label == story.label:
            return None
        kind: Literal["new", "update"] = "update" if story.label else "new"
        story.label = label
        return self._event(kind, story, label)

    def _end(self, story: _Story) -> Event | None:
        del self._stories[story.track_id]
        return self._event("end", story, story.label) if story.label else None

    def _event(self, kind: Literal["new", "update", "end"], story: _Story, label: Label) -> Event:
        verdict = story.verdict
        sides: dict[Label, float] = {"mask": verdict.mask_probability, "no_mask": 1 - verdict.mask_probability}
        return Event(
            type=kind,
            schema=SCHEMA,
            id=story.id,
            camera=self._camera,
            time=_rfc3339(self._wall),
            track_id=story.track_id,
            label=label,
            # The verdict may have gone back to unsure since: the confidence is that of the label told.
            confidence=round(sides.get(label, verdict.confidence), 4),
            mask_probability=round(verdict.mask_probability, 4),
            box=story.box,
            frame_size=self._size,
            started_at=_rfc3339(story.started_at),
            ended_at=_rfc3339(story.last_wall) if kind == "end" else None,
            frames=story.frames,
            frame_age_ms=round(max(0.0, time.monotonic() - self._captured_at) * 1000, 1),
        )


def _rfc3339(wall_time: float) -> str:
    return datetime.fromtimestamp(wall_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

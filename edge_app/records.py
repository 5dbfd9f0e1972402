"""Pure data that the rooms hand on: a frame, its detections, verdicts, events. Imports no other room."""

import json
from dataclasses import asdict, dataclass, field
from typing import Literal, Self

import supervision as sv

from edge_app.planes import Picture, Pixels

__all__ = ["Event", "Frame", "FrameResult", "Label", "Pixels", "Verdict", "tracker_ids"]

Label = Literal["mask", "no_mask", "unsure"]
SCHEMA = 1  # of `Event`


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    picture: its pixels, as the decoder stores them.
    index: number of the frame as decoded, from 0; replaced live frames leave gaps.
    time: seconds on the source's own clock: presentation time, which a live source counts from where `captured_at`
        does. Voting and tracking use it, so a file gives the same verdicts at any processing speed.
    captured_at: `time.monotonic()` when the picture was handed over: decoded, and due where a stream is paced. Frame
        age is measured from it.
    wall_time: seconds since the epoch that events carry; for files the start of the run plus `time`.
    """

    picture: Picture
    index: int
    time: float
    captured_at: float
    wall_time: float

    @property
    def image(self) -> Pixels:
        """The whole picture, uint8 (H, W, 3) BGR; made when it is first asked for. Not to be written to."""
        return self.picture.bgr()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.picture.width, self.picture.height


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state of one person, voted over a window of seconds.

    label: mask, no_mask or unsure.
    mask_probability: weighted mean of the window, 0..1.
    confidence: probability of `label` as voted, 0..1 (for unsure: that of the likelier side).
    votes: how many classifications the mean is made of.
    """

    label: Label
    mask_probability: float
    confidence: float
    votes: int


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

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` has written."""
        facts = json.loads(text)
        return cls(**facts | {key: tuple(facts[key]) for key in ("box", "frame_size")})


@dataclass(slots=True)
class FrameResult:
    """A frame with everything that was found in it; what an output receives.

    detections: xyxy in pixels of `frame.image`; class_id 0 mask, 1 no_mask; tracker_id -1 until a person is confirmed;
        data["mask_probability"] and data["quality"] float32 (n,) of the person's last classified face, see `recheck`;
        data["landmarks"] float32 (n, 5, 2) pixels.
    verdicts: one for each row of `detections`, in order.
    events: what changed with this frame.
    timings: stage name -> milliseconds.
    """

    frame: Frame
    detections: sv.Detections
    verdicts: list[Verdict] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)


def tracker_ids(detections: sv.Detections) -> list[int]:
    """The tracker id of each row; -1 for who is no confirmed person, and for all that no tracker has seen."""
    ids = detections.tracker_id
    return [-1] * len(detections) if ids is None else [int(i) for i in ids]

"""What travels down the line: a frame, and the result of judging it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import supervision as sv

if TYPE_CHECKING:
    from edge_app.people.lifecycle import Event
    from edge_app.people.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source.

    image: uint8 (H, W, 3) BGR.
    index: number of the frame as decoded, from 0; replaced live frames leave gaps.
    time: seconds on the source's own clock: presentation time in a file, `captured_at` in a live source. Voting and
        tracking use it, so a file gives the same verdicts at any processing speed.
    captured_at: `time.monotonic()` when the picture was decoded; frame age is measured from it.
    wall_time: seconds since the epoch that events carry; for files the start of the run plus `time`.
    """

    image: npt.NDArray[np.uint8]
    index: int
    time: float
    captured_at: float
    wall_time: float


@dataclass(slots=True)
class FrameResult:
    """A frame with everything that was found in it; what a sink receives.

    detections: xyxy in pixels of `frame.image`; class_id 0 mask, 1 no_mask; tracker_id -1 until a person is confirmed;
        data["mask_probability"] and data["quality"] float32 (n,) of the person's last classified face, see `recheck`;
        data["landmarks"] float32 (n, 5, 2) pixels.
    verdicts: one for each row of `detections`, in order.
    events: what changed with this frame.
    timings: stage name -> milliseconds.
    """

    frame: Frame
    detections: sv.Detections
    verdicts: "list[Verdict]" = field(default_factory=list)
    events: "list[Event]" = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)


def tracker_ids(detections: sv.Detections) -> list[int]:
    """The tracker id of each row; -1 for who is no confirmed person, and for all that no tracker has seen."""
    ids = detections.tracker_id
    return [-1] * len(detections) if ids is None else [int(i) for i in ids]

"""Real media for the tests: clips encoded with PyAV, and the results that sinks are given."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import supervision as sv

from edge_app.people.lifecycle import Lifecycle
from edge_app.planes import as_picture
from edge_app.records import Event, Frame, FrameResult, Label, Verdict

Pixels = npt.NDArray[np.uint8]


def grey(value: int, width: int = 64, height: int = 48) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def write_clip(
    path: Path, images: Iterable[Pixels], fps: int | Fraction = 25, codec: str = "libx264", **options: str
) -> Path:
    """Encode uint8 (H, W, 3) BGR images; the container follows from the file's name."""
    with av.open(str(path), "w", options=options) as container:
        stream = None
        for image in images:
            if stream is None:
                stream = container.add_stream(codec, rate=fps, options={"bf": "0"} if codec == "libx264" else {})
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        assert stream is not None
        container.mux(stream.encode(None))
    return path


def frame(index: int = 0, time: float | None = None, image: Pixels | None = None) -> Frame:
    seconds = index / 25 if time is None else time
    picture = grey(90, 160, 120) if image is None else image
    return Frame(as_picture(picture), index, seconds, captured_at=0.0, wall_time=1_700_000_000 + seconds)


def result(
    at: Frame, *persons: tuple[int, Label, float], box: tuple[float, float, float, float] = (20, 20, 60, 70)
) -> FrameResult:
    """A judged frame; each person is (tracker id, label, mask probability)."""
    count = len(persons)
    detections = sv.Detections(
        xyxy=np.tile(np.array(box, np.float32), (count, 1)).reshape(count, 4),
        confidence=np.full(count, 0.9, np.float32),
        class_id=np.array([int(p < 0.5) for _, _, p in persons], int),
        tracker_id=np.array([i for i, _, _ in persons], int),
        data={"mask_probability": np.array([p for _, _, p in persons], np.float32)},
    )
    return FrameResult(at, detections, [Verdict(label, p, max(p, 1 - p), 5) for _, label, p in persons])


def arrival(index: int = 0, camera: str = "door") -> FrameResult:
    """A result in which a person is first judged, with the one event of it."""
    found = result(frame(index), (1, "mask", 0.9))
    found.events = Lifecycle(camera, 1.5).update(found)
    return found


def event(index: int = 0, camera: str = "door") -> Event:
    """That event: `new`; its time rises with the index."""
    return arrival(index, camera).events[0]

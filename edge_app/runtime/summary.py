"""What a run did: takes the state of each camera, gives a summary of all."""

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import Any

from edge_app.config.settings import OutputSettings, StoreSettings
from edge_app.errors import EdgeAppError
from edge_app.monitor.status import CameraStatus
from edge_app.outputs.tally import sum_of

SCHEMA = 2


@dataclass(slots=True)
class Totals:
    """What one camera did, or all of them together.

    media_seconds: by the source's own clock. verdicts: persons by their last label. label_changes: how often each
    label was confirmed, as the first of a person or as a change. outputs: kind -> path or None. failed: what is not
    complete, and why, a line each.
    """

    source: str
    frames: int
    media_seconds: float
    faces: int
    seconds: float
    fps: float
    persons: int
    verdicts: dict[str, int]
    label_changes: dict[str, int]
    events: int
    dropped_frames: int
    reconnects: int
    sink_errors: int
    outputs: dict[str, str | None]
    failed: list[str]
    interrupted: bool


@dataclass(slots=True)
class CameraSummary(Totals):
    """What one camera did. timings: stage -> median_ms and p95_ms."""

    camera: str
    timings: dict[str, dict[str, float]]


@dataclass(slots=True)
class Summary(Totals):
    """What the cameras of a run did together: sums; of seconds and media_seconds those of the camera that took longest,
    where all files, which are watched one after another, count as one.

    cameras: those that were opened. undelivered: output -> events that wait in the log for the next run. failed: which
    cameras ended for good or never opened, and which outputs are not complete, a line each; errors: of the failed
    cameras; incomplete: the lines of the outputs.
    """

    undelivered: dict[str, int]
    cameras: list[CameraSummary]
    errors: list[EdgeAppError] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The content of the summary file."""
        facts = asdict(self)
        for key in ("errors", "incomplete"):
            del facts[key]
        return {"schema": SCHEMA, **facts}


def summarize_camera(camera: CameraStatus, source: str, interrupted: bool) -> CameraSummary:
    """The summary of a camera whose outputs are closed. source: as it may be shown."""
    assert camera.reader is not None
    assert camera.outputs is not None
    tally, stats, seconds = camera.tally, camera.reader.stats(), camera.seconds
    video = camera.outputs.paths.get("video")
    return CameraSummary(
        camera=camera.name,
        source=source,
        frames=tally.frames,
        media_seconds=tally.media_seconds,
        faces=tally.faces,
        seconds=round(seconds, 3),
        fps=round(tally.frames / seconds, 2) if seconds > 0 else 0.0,
        persons=tally.persons,
        verdicts=tally.verdicts,
        label_changes=tally.label_changes,
        events=tally.events,
        dropped_frames=stats["dropped_frames"],
        reconnects=stats["reconnects"],
        sink_errors=camera.outputs.errors,
        timings=camera.metrics.summary(),
        outputs={"video": str(video) if video else None},
        failed=camera.outputs.failed,
        interrupted=interrupted,
    )


def summarize(
    output: OutputSettings,
    store: StoreSettings,
    source: str,
    cameras: Sequence[CameraSummary],
    in_turn: Set[str],
    sink_errors: int,
    undelivered: dict[str, int],
    failed: Sequence[str],
    interrupted: bool,
) -> Summary:
    """The summary of a run.

    cameras: those that were opened; in_turn: the names of the files among them; sink_errors: of the event outputs;
    undelivered, failed: see `Summary`.
    """
    films = [camera for camera in cameras if camera.camera in in_turn]
    others = [camera for camera in cameras if camera.camera not in in_turn]
    seconds = max(sum(film.seconds for film in films), *(one.seconds for one in others), 0.0)
    media_seconds = max(sum(film.media_seconds for film in films), *(one.media_seconds for one in others), 0.0)
    frames = sum(camera.frames for camera in cameras)
    paths = {"events": output.events, "store": store.path, "summary": output.summary}
    return Summary(
        source=source,
        frames=frames,
        media_seconds=round(media_seconds, 3),
        faces=sum(camera.faces for camera in cameras),
        seconds=round(seconds, 3),
        fps=round(frames / seconds, 2) if seconds > 0 else 0.0,
        persons=sum(camera.persons for camera in cameras),
        verdicts=sum_of(camera.verdicts for camera in cameras),
        label_changes=sum_of(camera.label_changes for camera in cameras),
        events=sum(camera.events for camera in cameras),
        dropped_frames=sum(camera.dropped_frames for camera in cameras),
        reconnects=sum(camera.reconnects for camera in cameras),
        sink_errors=sink_errors + sum(camera.sink_errors for camera in cameras),
        undelivered=undelivered,
        outputs={kind: str(path) if path else None for kind, path in paths.items()},
        failed=[*failed],
        interrupted=interrupted,
        cameras=[*cameras],
    )

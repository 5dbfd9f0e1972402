"""Several runs told as one: takes the progress or the summary of each camera, gives the sums."""

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from edge_app.config.settings import OutputSettings
from edge_app.errors import EdgeAppError
from edge_app.runtime.pipeline import SUMMARY_SCHEMA, Progress, Summary


@dataclass(slots=True)
class FleetSummary:
    """What the cameras did together: sums; of seconds and media_seconds those of the camera that took longest, where
    all files, which are watched one after another, count as one.

    cameras: the summary of each that was opened, with its name; failed: which cameras ended for good or never opened,
    and which outputs are not complete, a line each; errors: those of the failed cameras; incomplete: those of the
    outputs.
    """

    facts: dict[str, Any]
    errors: list[EdgeAppError]
    incomplete: list[str]

    def to_dict(self) -> dict[str, Any]:
        return self.facts


def together(all_of_them: Sequence[Progress], running: Sequence[Progress]) -> Progress:
    """The progress of several cameras as one: sums, and the worst frame age."""
    totals = [progress.total for progress in all_of_them]
    return Progress(
        frames=sum(progress.frames for progress in all_of_them),
        total=None if None in totals else sum(total or 0 for total in totals),
        fps=sum(progress.fps for progress in running),
        persons=sum(progress.persons for progress in all_of_them),
        verdicts=_sum([progress.verdicts for progress in all_of_them]),
        present=_sum([progress.present for progress in running]),
        frame_age_ms=max((progress.frame_age_ms for progress in running), default=0.0),
        dropped_frames=sum(progress.dropped_frames for progress in all_of_them),
    )


def _sum(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return dict(total)


def summarize(
    output: OutputSettings,
    count: int,
    done: Sequence[Summary],
    in_turn: Set[str],
    failed: Sequence[str],
    interrupted: bool,
) -> dict[str, Any]:
    """The summary of `count` cameras.

    done: those that have seen something; in_turn: the names of the files among them; failed: see `FleetSummary`.
    """
    films = [summary for summary in done if summary.camera in in_turn]
    others = [summary for summary in done if summary.camera not in in_turn]
    seconds = max(sum(film.seconds for film in films), *(one.seconds for one in others), 0.0)
    media_seconds = max(sum(film.media_seconds for film in films), *(one.media_seconds for one in others), 0.0)
    frames = sum(summary.frames for summary in done)
    return {
        "schema": SUMMARY_SCHEMA,
        "source": f"{count} cameras",
        "frames": frames,
        "media_seconds": round(media_seconds, 3),
        "faces": sum(summary.faces for summary in done),
        "seconds": round(seconds, 3),
        "fps": round(frames / seconds, 2) if seconds > 0 else 0.0,
        "persons": sum(summary.persons for summary in done),
        "verdicts": _sum([summary.verdicts for summary in done]),
        "label_changes": _sum([summary.label_changes for summary in done]),
        "events": sum(summary.events for summary in done),
        "dropped_frames": sum(summary.dropped_frames for summary in done),
        "reconnects": sum(summary.reconnects for summary in done),
        "sink_errors": sum(summary.sink_errors for summary in done),
        "outputs": {
            "events": str(output.events) if output.events else None,
            "summary": str(output.summary) if output.summary else None,
        },
        "failed": [*failed],
        "interrupted": interrupted,
        "cameras": [summary.of_camera() for summary in done],
    }

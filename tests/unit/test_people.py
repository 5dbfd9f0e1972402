"""Persons of a source: followed at any rate of frames, strangers in photos, and nothing kept for ever."""

import tracemalloc
from collections.abc import Iterable

import numpy as np
import pytest
import supervision as sv

from edge_app.config.settings import Settings
from edge_app.people.memory import People, TrackedPeople, UnrelatedFaces
from edge_app.records import Event, FrameResult
from tests.media import frame

HIGH, LOW = 0.7, 0.3
Face = tuple[float, float, float]  # left edge, mask probability, quality


def faces(*rows: Face) -> sv.Detections:
    left = np.array([x for x, *_ in rows], np.float32).reshape(-1, 1)
    return sv.Detections(
        xyxy=(left + np.array([0, 50, 80, 130], np.float32)).reshape(-1, 4).astype(np.float32),
        confidence=np.full(len(rows), 0.9, np.float32),
        class_id=np.zeros(len(rows), int),
        data={
            "mask_probability": np.array([p for _, p, _ in rows], np.float32),
            "quality": np.array([q for *_, q in rows], np.float32),
        },
    )


def see(people: People, time: float, *rows: Face) -> list[Event]:
    at = frame(time=time)
    tracked = people.track(faces(*rows), time)
    return people.events(FrameResult(at, tracked, people.decide(tracked, time)))


def told(people: People, frames: Iterable[tuple[float, tuple[Face, ...]]]) -> list[tuple[str, str]]:
    events = [event for time, rows in frames for event in see(people, time, *rows)] + people.close()
    return [(event.type, event.label) for event in events]


def followed() -> TrackedPeople:
    return TrackedPeople(Settings(), HIGH, LOW)


@pytest.mark.parametrize("fps", [25, 5, 2, 1, 0.5, 0.1, 1 / 60])
def test_a_person_has_one_verdict_at_any_rate(fps: float) -> None:
    """Missed in two frames, too: that is no loss either."""
    frames = [(index / fps, () if index in (6, 7) else ((100.0, 0.95, 1.0),)) for index in range(20)]
    assert told(followed(), frames) == [("new", "mask"), ("end", "mask")]


@pytest.mark.parametrize("fps", [25, 1, 0.1])
def test_who_has_left_has_left_at_any_rate(fps: float) -> None:
    gone = round(max(1.5 * fps, 3)) + 2
    frames = [(index / fps, ((100.0, 0.95, 1.0),) if index < 10 else ()) for index in range(10 + gone)]
    people = followed()
    events = [event for time, rows in frames for event in see(people, time, *rows)]
    assert [event.type for event in events] == ["new", "end"]


@pytest.mark.parametrize("jump", [86_401.0, 9e11, 9e15])
def test_a_jump_of_the_time_begins_new_stories_and_no_fault(jump: float) -> None:
    times = [float(second) for second in range(30)]  # the largest cannot tell parts of a second apart
    frames = [(time, ((100.0, 0.05, 1.0),)) for time in (*times, *(jump + time for time in times))]
    assert told(followed(), frames) == [("new", "no_mask"), ("end", "no_mask")] * 2


def test_in_photos_every_face_is_a_person_decided_at_once() -> None:
    people = UnrelatedFaces(Settings(), HIGH, LOW)
    first = see(people, 0.0, (100, 0.95, 1.0), (300, 0.05, 1.0), (500, 0.5, 1.0), (700, 0.95, 0.0))
    assert [(event.type, event.label) for event in first] == [
        *[("new", "mask"), ("new", "no_mask"), ("new", "unsure"), ("new", "unsure")],
        *[("end", "mask"), ("end", "no_mask"), ("end", "unsure"), ("end", "unsure")],
    ]
    assert [event.confidence for event in first[:3]] == pytest.approx([0.95, 0.95, 0.5])
    second = see(people, 0.04, (100, 0.95, 1.0))
    assert [event.type for event in second] == ["new", "end"]
    assert second[0].track_id not in [event.track_id for event in first]
    assert len({event.id for event in first + second}) == 5
    assert see(people, 0.08) == people.close() == people.expire() == []


def test_a_broken_model_gives_no_vote_and_no_broken_event() -> None:
    frames = [(index / 25, ((100.0, float("nan") if index % 2 else 0.95, 1.0),)) for index in range(40)]
    people = followed()
    events = [event for time, rows in frames for event in see(people, time, *rows)] + people.close()
    assert [(event.type, event.label) for event in events] == [("new", "mask"), ("end", "mask")]
    assert all(event.to_json() for event in events)


def test_nothing_grows_for_ever() -> None:
    """Someone else comes every few seconds; what is kept after ten times as many is the same."""
    people = followed()

    def watch(start: int, end: int) -> int:
        """In seconds, two frames in each; how many persons were seen to come."""
        came = 0
        for index in range(2 * start, 2 * end):
            away = index % 12 > 4
            events = see(people, index / 2, *(() if away else ((float(index // 12 % 7) * 100, 0.9, 1.0),)))
            came += [event.type for event in events].count("new")
        return came

    watch(0, 60)
    tracemalloc.start()
    watch(60, 120)
    before, _ = tracemalloc.get_traced_memory()
    assert watch(120, 660) == 90
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000

"""The story of a person: new, update, end, and nothing in between."""

import json
import math
import re
import time
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.people.lifecycle import Lifecycle
from edge_app.records import SCHEMA, Event, Label
from tests.media import frame, result


def story(*labels: Label | None, lost_s: float = 1.5, step_s: float = 0.2, tracker_id: int = 7) -> list[Event]:
    """One frame for each label; None: the person is out of sight."""
    life, told = Lifecycle("door", lost_s), list[Event]()
    odds = {"mask": 0.9, "no_mask": 0.1, "unsure": 0.5}
    for index, label in enumerate(labels):
        persons: list[tuple[int, Label, float]] = [] if label is None else [(tracker_id, label, odds[label])]
        told += life.update(result(frame(index, index * step_s), *persons))
    return told + life.close()


def kinds(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.type, event.label) for event in events]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], []),
        (["unsure"] * 3, []),
        (["unsure", "mask", "mask"], [("new", "mask"), ("end", "mask")]),
        (
            ["mask", "unsure", "no_mask", "unsure"],
            [("new", "mask"), ("update", "no_mask"), ("end", "no_mask")],
        ),
        (["mask", "unsure", "mask"], [("new", "mask"), ("end", "mask")]),
        (["unsure"] * 12 + ["mask"], [("new", "unsure"), ("update", "mask"), ("end", "mask")]),
        (["mask", *[None] * 5, "mask"], [("new", "mask"), ("end", "mask")]),
        (["mask", *[None] * 9, "mask"], [("new", "mask"), ("end", "mask"), ("new", "mask"), ("end", "mask")]),
    ],
)
def test_a_story_tells_confirmed_changes_only(labels: list[Label | None], expected: list[tuple[str, str]]) -> None:
    assert kinds(story(*labels)) == expected


def test_a_person_never_confirmed_gives_nothing() -> None:
    assert story("mask", "mask", tracker_id=-1) == []


def test_one_story_has_one_id_and_the_next_another() -> None:
    first_new, first_end, second_new, second_end = story("mask", *[None] * 9, "no_mask")
    assert first_new.id == first_end.id != second_new.id == second_end.id


def test_the_end_tells_when_the_person_was_last_seen() -> None:
    new, end = story("mask", "mask", *[None] * 20)
    assert (new.ended_at, new.frames) == (None, 1)
    assert (end.started_at, end.ended_at, end.frames) == (
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:13:20.200Z",
        2,
    )
    assert end.time > end.ended_at


def test_the_confidence_is_that_of_the_label_told() -> None:
    *_, end = story("mask", "unsure")
    assert (end.label, end.confidence, end.mask_probability) == ("mask", 0.5, 0.5)


def test_two_persons_have_two_stories() -> None:
    life = Lifecycle("door", 1.5)
    events = life.update(result(frame(), (1, "mask", 0.9), (2, "no_mask", 0.1), (-1, "mask", 0.9)))
    assert [(e.track_id, e.label) for e in events] == [(1, "mask"), (2, "no_mask")]
    assert life.update(result(frame(1))) == []
    assert len(life.close()) == 2
    assert life.close() == []


def test_a_line_has_exactly_the_schema() -> None:
    line = story("mask")[0].to_json()
    record: dict[str, Any] = json.loads(line)
    assert list(record) == [
        *["type", "schema", "id", "camera", "time", "track_id", "label", "confidence", "mask_probability", "box"],
        *["frame_size", "started_at", "ended_at", "frames", "frame_age_ms"],
    ]
    assert record | {"id": 0, "frame_age_ms": 0} == {
        "type": "new",
        "schema": 1,
        "id": 0,
        "camera": "door",
        "time": "2023-11-14T22:13:20.000Z",
        "track_id": 7,
        "label": "mask",
        "confidence": 0.9,
        "mask_probability": 0.9,
        "box": [20.0, 20.0, 60.0, 70.0],
        "frame_size": [160, 120],
        "started_at": "2023-11-14T22:13:20.000Z",
        "ended_at": None,
        "frames": 1,
        "frame_age_ms": 0,
    }
    assert re.fullmatch(r"[0-9a-f]{32}", record["id"])
    assert record["frame_age_ms"] > 0
    assert "\n" not in line


def test_who_is_out_of_sight_for_long_enough_ends_though_no_frame_comes() -> None:
    life = Lifecycle("door", 1.5)
    life.update(result(frame(0, 10.0), (1, "mask", 0.9)))
    assert life.expire(11.4, 1_700_000_011.4) == []
    (end,) = life.expire(11.6, 1_700_000_011.6)
    assert (end.type, end.label, end.time) == ("end", "mask", "2023-11-14T22:13:31.600Z")
    assert end.ended_at == "2023-11-14T22:13:30.000Z"
    assert life.expire(20.0, 1_700_000_020.0) == life.close() == []


@pytest.mark.parametrize("wall_time", [math.nan, math.inf, -math.inf, 9e11, 9e15, 1e300, -9e15])
def test_a_time_outside_the_calendar_is_now(wall_time: float) -> None:
    life = Lifecycle("door", 1.5)
    at = replace(frame(), wall_time=wall_time)
    events = life.update(result(at, (1, "mask", 0.9))) + life.close()
    assert [event.type for event in events] == ["new", "end"]
    for event in events:
        for moment in (event.time, event.started_at, event.ended_at or event.time):
            assert abs(datetime.fromisoformat(moment).timestamp() - time.time()) < 60


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_no_fault(value: float) -> None:
    life = Lifecycle("door", 1.5)
    events = life.update(result(frame(), (1, "mask", value))) + life.close()
    assert [json.loads(event.to_json())["type"] for event in events] == ["new", "end"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Event,
        type=st.sampled_from(["new", "update", "end"]),
        schema=st.just(SCHEMA),
        id=TEXT,
        camera=TEXT,
        time=TEXT,
        track_id=st.integers(),
        label=st.sampled_from(["mask", "no_mask", "unsure"]),
        confidence=NUMBER,
        mask_probability=NUMBER,
        box=st.tuples(NUMBER, NUMBER, NUMBER, NUMBER),
        frame_size=st.tuples(st.integers(), st.integers()),
        started_at=TEXT,
        ended_at=st.none() | TEXT,
        frames=st.integers(),
        frame_age_ms=NUMBER,
    )
)
def test_an_event_comes_back_from_its_line_as_it_was(event: Event) -> None:
    line = event.to_json()
    assert "\n" not in line
    assert Event.from_json(line) == event


def test_so_does_one_of_a_real_story() -> None:
    for event in story("mask", "no_mask", *[None] * 9):
        again = Event.from_json(event.to_json())
        assert again == event
        assert {name: type(value) for name, value in asdict(again).items()} == {
            name: type(value) for name, value in asdict(event).items()
        }

"""A whole run: frames in, persons, events and files out; threaded exactly as one frame at a time."""

import json
import os
import pydoc
import threading
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import av
import pytest
import supervision as sv

from edge_app.capture import demo
from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings
from edge_app.errors import EdgeAppError, ModelError, SinkError, SourceError, UsageError
from edge_app.monitor.status import RunStatus
from edge_app.records import Event, FrameResult, Pixels
from edge_app.runtime.pipeline import SourceAnalyzer
from edge_app.runtime.run import run
from edge_app.runtime.summary import Summary
from edge_app.vision.analyzer import Analyzer
from tests.conftest import need
from tests.outputs import every_result

FRAMES, FPS = 250, 12.5  # the demo film with every second picture


def settings(uri: object = "demo", **sections: Any) -> Settings:
    return Settings.model_validate({"source": {"uri": str(uri)}, **sections})


def told(event: Event | dict[str, Any]) -> dict[str, Any]:
    """An event without what differs from run to run."""
    record: dict[str, Any] = event if isinstance(event, dict) else json.loads(event.to_json())
    changing = {"id", "time", "started_at", "ended_at", "frame_age_ms"}
    return {key: value for key, value in record.items() if key not in changing}


def lines(path: Path) -> list[dict[str, Any]]:
    """The events of a file, of which every line has to be whole."""
    text = path.read_text(encoding="utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def playable_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@dataclass
class Record:
    """What came out for every frame: boxes, ids and labels, exactly."""

    frames: list[tuple[float, Any, Any, list[str], list[float]]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)  # label of a change -> media time of the last such event

    def add(self, result: FrameResult) -> None:
        found = result.detections
        assert found.tracker_id is not None
        self.frames.append(
            (
                result.frame.time,
                found.xyxy.tolist(),
                found.tracker_id.tolist(),
                [verdict.label for verdict in result.verdicts],
                [verdict.mask_probability for verdict in result.verdicts],
            )
        )
        self.events += result.events
        self.times |= {event.label: result.frame.time for event in result.events}


def one_at_a_time(judge: SourceAnalyzer, wanted: Settings) -> Record:
    record = Record()
    with FrameReader(parse_source("demo"), wanted.source) as reader:
        for frame in reader:
            record.add(judge.judge(judge.detect(frame)))
    record.events += judge.close()
    return record


@dataclass
class Film:
    """The demo judged twice: by `run`, with its files, and one frame at a time."""

    folder: Path
    summary: Summary
    progress: list[tuple[int, int | None, int]]  # frames, of how many, persons
    threaded: Record
    single: Record


@pytest.fixture(scope="module")
def film(models: Path, astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Film:
    folder = tmp_path_factory.mktemp("film")
    threaded = Record()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "FRAMES", FRAMES)
        patch.setattr(demo, "FPS", FPS)
        files = {kind: folder / name for kind, name in (("video", "out.mp4"), ("events", "e.jsonl"), ("summary", "s"))}
        wanted = settings(output=files)
        progress: list[tuple[int, int | None, int]] = []

        def on_progress(state: RunStatus) -> None:
            progress.append((state.frames, state.total, state.persons))

        with every_result(lambda _, result: threaded.add(result)):
            summary = run(wanted, on_progress=on_progress)
        single = one_at_a_time(SourceAnalyzer(wanted), wanted)
    return Film(folder, summary, progress, threaded, single)


class TestDemo:
    def test_threads_change_nothing(self, film: Film) -> None:
        assert len(film.threaded.frames) == FRAMES
        for index, (one, other) in enumerate(zip(film.threaded.frames, film.single.frames, strict=True)):
            assert one == other, f"frame {index}"

    def test_looking_again_at_every_face_tells_no_other_story(
        self, models: Path, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The film classified in every frame: the same events, each change seen at most two frames earlier, for more
        than twice the work."""
        monkeypatch.setattr(demo, "FRAMES", FRAMES)
        monkeypatch.setattr(demo, "FPS", FPS)
        seen: list[Record] = []
        classified = {0.0: 0, 0.2: 0}
        for recheck_s in classified:
            wanted = settings(classifier={"recheck_s": recheck_s})
            analyzer = Analyzer(wanted)
            judge, classify = SourceAnalyzer(wanted, analyzer), analyzer.classify

            def counted(image: Pixels, faces: sv.Detections, at: float = recheck_s, call: Any = classify) -> None:
                classified[at] += len(faces)
                call(image, faces)

            monkeypatch.setattr(analyzer, "classify", counted)
            seen.append(one_at_a_time(judge, wanted))
        often, seldom = seen
        assert [frame[:3] for frame in often.frames] == [frame[:3] for frame in seldom.frames]
        changes = len(often.events) - 1
        late = [one[0] for one, other in zip(often.frames, seldom.frames, strict=True) if one[3] != other[3]]
        assert len(late) <= 2 * changes
        assert [(e.type, e.label) for e in often.events] == [(e.type, e.label) for e in seldom.events]
        assert classified[0.0] == sum(len(frame[1]) for frame in often.frames)
        assert 0 < classified[0.2] < classified[0.0] / 2

    def test_the_events_file_tells_the_same_story(self, film: Film) -> None:
        assert [told(event) for event in lines(film.folder / "e.jsonl")] == [told(e) for e in film.single.events]

    def test_the_mask_is_put_on_and_taken_off(self, film: Film) -> None:
        """One person: no_mask, mask, no_mask, each told soon after the picture has changed."""
        events = lines(film.folder / "e.jsonl")
        assert len({event["id"] for event in events}) == 1
        assert [(event["type"], event["label"]) for event in events] == [
            ("new", "no_mask"),
            ("update", "mask"),
            ("update", "no_mask"),
            ("end", "no_mask"),
        ]
        put_on, taken_off = (part * FRAMES / FPS for part in (demo.MASKED_FROM, demo.MASKED_TO))
        assert put_on < film.single.times["mask"] < put_on + 3
        assert taken_off < film.single.times["no_mask"] < taken_off + 3

    def test_settled_verdicts_are_never_wrong(self, film: Film) -> None:
        put_on, taken_off = (part * FRAMES / FPS for part in (demo.MASKED_FROM, demo.MASKED_TO))
        window = 1.5
        bare: set[str] = set()
        worn: set[str] = set()
        for time, _, _, labels, _ in film.single.frames:
            if time < put_on or time > taken_off + window:
                bare.update(labels)
            elif put_on + window < time < taken_off:
                worn.update(labels)
        assert "no_mask" in bare
        assert "mask" not in bare
        assert "mask" in worn
        assert "no_mask" not in worn

    def test_the_summary_counts_what_happened(self, film: Film) -> None:
        summary = film.summary
        assert (summary.source, summary.frames, summary.persons) == ("demo", FRAMES, 1)
        assert {label: n for label, n in summary.verdicts.items() if n} == {"no_mask": 1}
        assert (summary.events, summary.sink_errors, summary.dropped_frames, summary.reconnects) == (4, 0, 0, 0)
        assert not summary.interrupted
        assert summary.fps == pytest.approx(FRAMES / summary.seconds, rel=0.01)
        assert {"detect", "classify", "track", "decide", "output", "frame_age"} <= set(summary.cameras[0].timings)
        written = json.loads((film.folder / "s").read_text())
        assert written == summary.to_dict()

    def test_progress_goes_frame_by_frame_and_knows_the_end(self, film: Film) -> None:
        assert [frames for frames, _, _ in film.progress] == list(range(1, FRAMES + 1))
        assert {total for _, total, _ in film.progress} == {FRAMES}
        persons = [persons for _, _, persons in film.progress]
        assert persons == sorted(persons)
        assert persons[-1] == 1

    def test_the_video_plays_and_is_annotated(self, film: Film) -> None:
        assert playable_frames(film.folder / "out.mp4") == FRAMES
        bare = demo.DemoSource().render(0)
        with av.open(str(film.folder / "out.mp4")) as container:
            shown = next(container.decode(video=0)).to_ndarray(format="bgr24")
        assert shown.shape == bare.shape
        x0, y0, x1, y1 = (round(v) for v in film.single.frames[0][1][0])
        change = abs(shown.astype(int) - bare).mean(axis=2)
        assert max(change[y0, x0:x1].mean(), change[y0 + 1, x0:x1].mean()) > 5 * change[-100:, -100:].mean()
        assert y1 > y0


def test_no_more_frames_than_asked_for(models: Path, astronaut: Pixels) -> None:
    states: list[int | None] = []
    summary = run(settings(max_frames=7), on_progress=lambda state: states.append(state.total))
    assert (summary.frames, summary.interrupted) == (7, False)
    assert states == [7] * 7


class TestStopping:
    def test_a_stop_drains_and_leaves_whole_files(self, models: Path, astronaut: Pixels, tmp_path: Path) -> None:
        stop, video, events = threading.Event(), tmp_path / "out.mp4", tmp_path / "e.jsonl"

        def on_progress(state: RunStatus) -> None:
            if state.persons:
                stop.set()

        wanted = settings(output={"video": video, "events": events, "summary": tmp_path / "s.json"})
        summary = run(wanted, on_progress=on_progress, stop=stop)
        assert summary.interrupted
        assert 0 < summary.frames < demo.FRAMES
        assert playable_frames(video) == summary.frames
        assert [event["type"] for event in lines(events)] == ["new", "end"]
        assert json.loads((tmp_path / "s.json").read_text())["frames"] == summary.frames
        assert not [t for t in threading.enumerate() if t.name in ("detect", "judge", "stop-watch", "capture-watch")]

    def test_a_stop_before_the_start(self, models: Path, astronaut: Pixels, tmp_path: Path) -> None:
        stop = threading.Event()
        stop.set()
        summary = run(settings(output={"events": tmp_path / "e.jsonl"}), stop=stop)
        assert summary.interrupted
        assert summary.frames < demo.FRAMES

    def test_a_source_that_fails_midway_keeps_what_was_judged(
        self, models: Path, astronaut: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = demo.DemoSource.read

        def failing(self: demo.DemoSource) -> tuple[Pixels, float] | None:
            if self._index == 20:
                raise SourceError("demo: the camera is gone")
            return read(self)

        monkeypatch.setattr(demo.DemoSource, "read", failing)
        video, events = tmp_path / "out.mp4", tmp_path / "e.jsonl"
        summary = run(settings(output={"video": video, "events": events}))
        assert [str(error) for error in summary.errors] == summary.failed == ["demo: the camera is gone"]
        assert playable_frames(video) == 20
        assert [event["type"] for event in lines(events)] == ["new", "end"]


@pytest.mark.parametrize("stage", ["detector.FaceDetector.detect", "classifier.MaskClassifier.classify"])
def test_a_fault_of_ours_keeps_what_was_judged(
    models: Path, astronaut: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Whatever a stage raises: everyone in view ends, and every file is complete."""
    calls, inner = count(), pydoc.locate(f"edge_app.vision.{stage}")
    assert callable(inner)

    def failing(*arguments: Any) -> Any:
        if next(calls) == 40:
            raise KeyError("boom")
        return inner(*arguments)

    monkeypatch.setattr(f"edge_app.vision.{stage}", failing)
    files = {"video": tmp_path / "v.mp4", "events": tmp_path / "e.jsonl", "summary": tmp_path / "s.json"}
    with pytest.raises(KeyError, match="boom"):
        run(settings(output=files))
    facts = json.loads(files["summary"].read_text(encoding="utf-8"))
    assert facts["failed"] == ["KeyError('boom')"]
    assert 20 < facts["frames"] == playable_frames(files["video"])
    assert [event["type"] for event in lines(files["events"])] == ["new", "end"]
    assert facts["events"] == 2


@pytest.mark.parametrize(
    ("sections", "kind", "code"),
    [
        ({"output": {"video": "/dev/null/out.mp4"}}, SinkError, 5),
        ({"output": {"events": "/dev/null/e.jsonl"}}, SinkError, 5),
        ({"output": {"summary": "/dev/null/s.json"}}, SinkError, 5),
        ({"output": {"events": "."}}, SinkError, 5),
        ({"detector": {"model": "no/model"}}, ModelError, 3),
        ({"classifier": {"model": "no/model"}}, ModelError, 3),
        ({"classifier": {"provider": "NoSuchProvider"}}, ModelError, 3),
        ({"source": {"uri": "no/clip.mp4"}}, SourceError, 4),
    ],
)
def test_what_cannot_be_used_is_told_before_the_first_frame(
    models: Path,
    astronaut: Pixels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    kind: type[EdgeAppError],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    frames: list[int] = []
    with pytest.raises(kind) as caught:
        run(settings(**sections), on_progress=lambda state: frames.append(state.frames))
    assert caught.value.exit_code == code
    assert "\n" not in str(caught.value)
    assert frames == []


def test_a_full_disk_stops_nothing_and_is_counted(models: Path, astronaut: Pixels, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full on this system")
    video = tmp_path / "out.mp4"
    summary = run(settings(max_frames=15, output={"events": "/dev/full", "video": video}))
    assert summary.frames == 15
    assert summary.events == 2
    assert summary.sink_errors > 0
    assert playable_frames(video) == 15


def test_the_window_needs_a_display(models: Path, astronaut: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError):
        run(settings(output={"show": True}, max_frames=2))


class TestClips:
    def test_people_seen_from_behind_are_few(self, models: Path, shared: Path) -> None:
        clip = shared / "data" / "clips" / "walkers_from_behind.mp4"
        need(clip.is_file(), f"no {clip.name}")
        summary = run(settings(clip, max_frames=150))
        assert (summary.frames, summary.sink_errors) == (150, 0)
        assert summary.persons <= 3

    def test_a_masked_person_is_told(self, models: Path, shared: Path) -> None:
        clip = shared / "data" / "clips" / "gituatu_mask.mp4"
        need(clip.is_file(), f"no {clip.name}")
        summary = run(settings(clip, max_frames=60))
        assert summary.verdicts.get("mask", 0) >= 1

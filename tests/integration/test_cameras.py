"""Several cameras in one process: the same events as each alone, and no camera that ends another."""

import json
import re
import signal
import socket
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_app.capture import demo
from edge_app.config.settings import Settings
from edge_app.errors import SourceError
from edge_app.runtime.run import run
from tests.command import Running
from tests.integration.test_observe import get
from tests.integration.test_pipeline import lines, playable_frames, told
from tests.media import Pixels, write_clip
from tests.rtsp import camera, in_720p, write_still

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]

FRAMES = 80
NAMES = ("door", "gate", "hall")


@pytest.fixture(scope="module")
def clips(astronaut: Pixels, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip a camera: other parts of the demo film, in three sizes."""
    folder, source = tmp_path_factory.mktemp("clips"), demo.DemoSource()

    def film(start: int, size: tuple[int, int]) -> list[Pixels]:
        pictures = (source.render(start + 2 * index) for index in range(FRAMES))
        return [np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8) for picture in pictures]

    parts = zip(NAMES, (0, 100, 250), ((640, 360), (480, 270), (854, 480)), strict=True)
    return {name: write_clip(folder / f"{name}.mp4", film(start, size)) for name, start, size in parts}


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def settings(clips: dict[str, Path], **sections: Any) -> Settings:
    sources = [{"camera": name, "uri": str(path)} for name, path in clips.items()]
    return Settings.model_validate({"sources": sources, **sections})


def by_camera(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for event in lines(path):
        found.setdefault(event["camera"], []).append(told(event))
    return found


def has_pictures(video: Path) -> bool:
    return video.exists() and b"moof" in video.read_bytes()


def left_out(video: Path, messages: str) -> int:
    """The frames that found no place in a camera's video, as the run told: a busy machine encodes slowly."""
    found = re.findall(rf"^warning: {video.name}: (\d+) frames left out", messages, re.MULTILINE)
    return sum(map(int, found))


def configuration(folder: Path, *sources: tuple[str, object]) -> Path:
    path = folder / "cameras.yaml"
    path.write_text(json.dumps({"sources": [{"camera": name, "uri": str(uri)} for name, uri in sources]}))
    return path


def test_each_camera_tells_what_it_tells_alone(clips: dict[str, Path], tmp_path: Path) -> None:
    alone: dict[str, list[dict[str, Any]]] = {}
    summaries = {}
    for name, path in clips.items():
        events = tmp_path / f"{name}.jsonl"
        one = {"source": {"camera": name, "uri": str(path)}, "output": {"events": events}}
        summaries[name] = run(Settings.model_validate(one))
        alone |= by_camera(events)
    assert set(alone) == set(NAMES)  # the comparison is one of something

    output = {"events": tmp_path / "e.jsonl", "summary": tmp_path / "s.json", "video": tmp_path / "out.mp4"}
    result = run(settings(clips, output=output))
    assert by_camera(tmp_path / "e.jsonl") == alone
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert facts == result.to_dict()
    assert not facts["failed"]
    for each in facts["cameras"]:
        before = summaries[each["camera"]]
        for key in ("frames", "faces", "persons", "verdicts", "label_changes", "events", "media_seconds"):
            assert each[key] == getattr(before, key), key
        assert playable_frames(tmp_path / f"out-{each['camera']}.mp4") == FRAMES
    assert facts["frames"] == len(NAMES) * FRAMES
    for key in ("persons", "events", "faces"):
        assert facts[key] == sum(each[key] for each in facts["cameras"])


def test_a_camera_that_cannot_be_opened_ends_alone(clips: dict[str, Path], tmp_path: Path) -> None:
    config = configuration(tmp_path, ("bad", "rtsp://user:secret@127.0.0.1:1/x"), ("door", clips["door"]))
    with Running(tmp_path, "run", "--config", config, "--events", "e.jsonl", "--summary", "s.json") as command:
        assert command.finish() == 4
    (line,) = [line for line in command.err.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: bad: rtsp://***@127.0.0.1:1/x: connection refused")
    assert "secret" not in command.err + command.out + (tmp_path / "s.json").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [each["camera"] for each in facts["cameras"]] == ["door"]
    assert facts["frames"] == FRAMES
    (failed,) = facts["failed"]
    assert failed.startswith("bad: ")
    assert set(by_camera(tmp_path / "e.jsonl")) == {"door"}


def test_a_camera_that_is_lost_for_good_ends_alone(tmp_path: Path) -> None:
    """What it gave before is in the sums; the other goes on until it is stopped."""
    with camera() as lost, camera() as other:
        config = configuration(tmp_path, ("lost", lost.url()), ("other", other.url()))
        quick = ("--set", "source.reconnect=false", "--set", "source.stall_timeout_s=5")  # a busy machine is no stall
        outputs = ("--output", "v.mp4", "--summary", "s.json")
        with Running(tmp_path, "run", "--config", config, *quick, *outputs) as command:
            videos = [tmp_path / f"v-{name}.mp4" for name in ("lost", "other")]
            command.wait_until(lambda: all(has_pictures(path) for path in videos), "both are written")
            lost.say("pause")
            command.wait_until(lambda: "error: lost: " in command.err, "the loss is told")
            size = videos[1].stat().st_size
            command.wait_until(lambda: videos[1].stat().st_size > size, "the other goes on")
            code = command.finish(signal.SIGTERM)
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [each["camera"] for each in facts["cameras"]] == ["lost", "other"]
    assert all(each["frames"] > 0 for each in facts["cameras"])
    assert code == 4
    assert len(facts["failed"]) == 1


def test_a_camera_that_the_watchdog_finds_silent_ends_the_run(tmp_path: Path) -> None:
    with camera() as silent, camera() as other:
        config = configuration(tmp_path, ("silent", silent.url()), ("other", other.url()))
        more = ("--set", "watchdog.no_frame_s=2", "--output", "v.mp4", "--summary", "s.json")
        with Running(tmp_path, "run", "--config", config, *more) as command:
            videos = [tmp_path / f"v-{name}.mp4" for name in ("silent", "other")]
            command.wait_until(lambda: all(has_pictures(path) for path in videos), "both are written")
            silent.say("pause")
            assert command.finish() == 6, command.err
    assert command.err.splitlines()[-1].startswith(f"error: silent: rtsp://127.0.0.1:{silent.port}/live: no frame for")
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [playable_frames(path) + left_out(path, command.err) for path in videos] == [
        each["frames"] for each in facts["cameras"]
    ]


def test_without_any_camera_there_is_no_run(tmp_path: Path) -> None:
    missing = {name: tmp_path / f"{name}.mp4" for name in NAMES}
    failures: list[str] = []
    with pytest.raises(SourceError, match="none of the 3 cameras"):
        run(settings(missing), on_failure=lambda name, _: failures.append(name))
    assert sorted(failures) == sorted(NAMES)


def test_a_signal_ends_all_with_complete_files(tmp_path: Path, astronaut: Pixels) -> None:
    config = configuration(tmp_path, *((name, "demo") for name in NAMES))
    videos = [tmp_path / f"v-{name}.mp4" for name in NAMES]
    outputs = ("--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4")
    with Running(tmp_path, "run", "--config", config, *outputs) as command:
        command.wait_until(lambda: all(has_pictures(path) for path in videos), "all are written")
        assert command.finish(signal.SIGTERM) == 0, command.err
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert facts["interrupted"]
    assert [playable_frames(path) for path in videos] == [each["frames"] for each in facts["cameras"]]
    assert facts["events"] == len(lines(tmp_path / "e.jsonl"))
    for events in by_camera(tmp_path / "e.jsonl").values():
        assert events[-1]["type"] == "end"
    assert command.out.startswith("interrupted\n")


def test_four_cameras_on_the_network(tmp_path: Path, astronaut: Pixels, port: int) -> None:
    """Real 720p streams in one process: each gives events, metrics tell them apart, one stop ends all."""
    names = ("a", "b", "c", "d")
    still = write_still(tmp_path / "portrait.i420", in_720p(astronaut))
    with ExitStack() as stack:
        servers = [stack.enter_context(camera("1280x720", still=still)) for _ in names]
        config = configuration(tmp_path, *zip(names, (server.url() for server in servers), strict=True))
        more = ("--set", "source.max_fps=5", "--set", f"metrics.port={port}", "--set", "metrics.ready_age_s=60")
        outputs = ("--events", "e.jsonl", "--summary", "s.json")
        command = stack.enter_context(Running(tmp_path, "run", "--config", config, *more, *outputs))
        events = tmp_path / "e.jsonl"
        command.wait_until(lambda: events.exists() and len(by_camera(events)) == 4, "every camera has told a person")
        assert get(port, "/readyz")[0] == 200
        status, text = get(port, "/metrics")
        assert status == 200
        assert command.finish(signal.SIGTERM) == 0, command.err
    finished = {
        sample.labels["camera"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "edge_app_frames_finished_total"
    }
    assert set(finished) == set(names)
    assert min(finished.values()) >= 3
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [each["camera"] for each in facts["cameras"]] == list(names)
    assert all(each["persons"] >= 1 for each in facts["cameras"])


def test_files_are_watched_one_after_another(clips: dict[str, Path], tmp_path: Path) -> None:
    """A folder and a file named twice; one of them is none, which the others do not suffer from."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, path in clips.items():
        (folder / path.name).write_bytes(b"" if name == "gate" else path.read_bytes())
    outputs = ("--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4")
    with Running(tmp_path, "run", folder, clips["door"], *outputs) as command:
        assert command.finish() == 4
    assert [line for line in command.err.splitlines() if line.startswith("error: ")] == [
        f"error: gate: {folder / 'gate.mp4'}: the file is empty"
    ]
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [(each["camera"], each["frames"]) for each in facts["cameras"]] == [
        ("door", FRAMES),
        ("hall", FRAMES),
        ("door-2", FRAMES),
    ]
    assert facts["seconds"] == pytest.approx(sum(each["seconds"] for each in facts["cameras"]), abs=0.01)
    assert facts["media_seconds"] == pytest.approx(sum(each["media_seconds"] for each in facts["cameras"]), abs=0.01)
    told = by_camera(tmp_path / "e.jsonl")
    assert [event | {"camera": "door"} for event in told["door-2"]] == told["door"]
    assert [event["camera"] for event in lines(tmp_path / "e.jsonl")] == [
        name for name in ("door", "hall", "door-2") for _ in told.get(name, ())
    ]
    for each in facts["cameras"]:
        assert playable_frames(tmp_path / f"v-{each['camera']}.mp4") == FRAMES


def test_a_stop_leaves_out_the_files_that_have_not_begun(tmp_path: Path, clips: dict[str, Path]) -> None:
    stop = threading.Event()
    files = {"door": clips["door"], "gate": clips["gate"]}
    result = run(settings(files), stop=stop, on_progress=lambda _: stop.set())
    assert result.interrupted
    assert [each.camera for each in result.cameras] == ["door"]
    assert result.failed == ["gate: never opened (the run was stopped before)"]
    assert result.errors == []


def test_a_fault_in_one_camera_loses_nothing_of_the_others(
    astronaut: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours ends the run, with what everyone has told, and the ends of those in view."""
    read, failing = demo.DemoSource.read, threading.Lock()

    def broken(self: demo.DemoSource) -> Any:
        if self._index == 40 and failing.acquire(blocking=False):
            raise KeyError("boom")
        return read(self)

    monkeypatch.setattr(demo.DemoSource, "read", broken)
    output = {"events": tmp_path / "e.jsonl", "summary": tmp_path / "s.json"}
    sources = {"sources": [{"camera": name, "uri": "demo"} for name in NAMES], "output": output}
    with pytest.raises(KeyError, match="boom"):
        run(Settings.model_validate(sources))
    facts = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert [each["camera"] for each in facts["cameras"]] == list(NAMES)
    assert len(facts["failed"]) == 1
    events = by_camera(tmp_path / "e.jsonl")
    assert {name: (told[0]["type"], told[-1]["type"]) for name, told in events.items()} == dict.fromkeys(
        NAMES, ("new", "end")
    )
    assert facts["events"] == sum(map(len, events.values()))

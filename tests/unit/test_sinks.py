"""Sinks on real files and real full devices."""

import json
import logging
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SinkError, UsageError
from edge_app.outputs.jsonl import JsonlSink
from edge_app.outputs.sink import IsolatedSink
from edge_app.outputs.summary import SummarySink
from edge_app.outputs.video import VideoSink
from edge_app.outputs.window import WindowSink, display_problem
from edge_app.people.lifecycle import Lifecycle
from edge_app.records import Event, FrameResult
from tests.media import frame, grey, result

full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


def told(index: int = 0) -> FrameResult:
    """A result with one event."""
    found = result(frame(index), (1, "mask", 0.9))
    found.events = Lifecycle("door", 1.5).update(found)
    return found


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_events_are_appended_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        sink = JsonlSink(path)
        sink.write(told())
        sink.write(result(frame(1)))
        assert path.read_bytes().endswith(b"}\n")  # there before the sink is closed
        sink.close()
    assert [json.loads(line)["type"] for line in path.read_text().splitlines()] == ["new", "new"]


def test_a_torn_last_line_gets_its_end_first(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "ne')
    sink = JsonlSink(path)
    sink.write(told())
    sink.write(told())
    sink.close()
    torn, *whole = path.read_text().splitlines()
    assert torn == '{"type": "ne'
    assert [json.loads(line)["label"] for line in whole] == ["mask", "mask"]


@pytest.mark.parametrize("make", [JsonlSink, VideoSink, SummarySink])
def test_an_unwritable_path_fails_at_once(tmp_path: Path, make: type[JsonlSink | VideoSink | SummarySink]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"out\.mp4.*(Not a directory|File exists)"):
        make(tmp_path / "file" / "out.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SinkError, match=r"folder\.mp4.*[Ii]s a directory"):
        make(tmp_path / "folder.mp4")


@full_device
def test_a_full_device_is_a_sink_error_and_its_events_are_counted() -> None:
    sink = JsonlSink(Path("/dev/full"))
    with pytest.raises(SinkError, match="No space"):
        sink.write(told())
    with pytest.raises(SinkError, match="1 events are lost"):
        sink.close()
    assert sink.lost == 1


def test_a_line_that_fits_in_part_is_taken_back_and_written_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = IsolatedSink(JsonlSink(path))
    sink.write(told(0))
    whole = path.read_bytes()
    with disk_of(len(whole) + 10):
        sink.write(told(1))
        assert path.read_bytes() == whole
        sink.write(told(2))
    assert sink.errors == 2
    sink.write(told(3))
    sink.close()
    times = [json.loads(line)["time"] for line in path.read_text().splitlines()]
    assert len(times) == 4
    assert times == sorted(times)


def test_a_full_disk_is_not_tried_at_every_frame(tmp_path: Path) -> None:
    """Each try shows a part of a line to whoever reads the file."""
    path = tmp_path / "events.jsonl"
    sink = IsolatedSink(JsonlSink(path))
    sink.write(told(0))
    with disk_of(path.stat().st_size + 10):
        sink.write(told(1))
        tried = path.stat().st_mtime_ns
        time.sleep(0.05)
        sink.write(told(2))
        assert path.stat().st_mtime_ns == tried
        time.sleep(0.5)
        sink.write(result(frame(3)))
        assert path.stat().st_mtime_ns > tried
    assert sink.errors == 3
    sink.close()
    assert len(path.read_text().splitlines()) == 3


def test_a_killed_program_leaves_whole_lines_and_a_playable_video(tmp_path: Path) -> None:
    script = f"""
import itertools, os, signal
from pathlib import Path
from edge_app.outputs.jsonl import JsonlSink
from edge_app.outputs.video import VideoSink
from tests.media import frame
from tests.unit.test_sinks import told
events, video = JsonlSink(Path({str(tmp_path / "e.jsonl")!r})), VideoSink(Path({str(tmp_path / "v.mp4")!r}), 25)
for index in range(160):
    result = told(index)
    events.write(result)
    video.write(result)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL
    text = (tmp_path / "e.jsonl").read_text()
    assert text.endswith("\n")
    assert len([json.loads(line) for line in text.splitlines()]) == 160
    with av.open(str(tmp_path / "v.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) >= 50


def test_the_video_is_h264_with_the_times_of_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    sink = VideoSink(path, 25)
    times = [5.0, 5.04, 5.5, 6.0]  # a live source: starts anywhere, comes unevenly
    for index, (seconds, size) in enumerate(zip(times, [(161, 121), (161, 121), (80, 60), (162, 122)], strict=True)):
        sink.write(result(frame(index, seconds, grey(60 * index, *size))))
    sink.close()
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        decoded = list(video.decode(stream))
    assert [f.time for f in decoded] == pytest.approx([0, 0.04, 0.5, 1.0], abs=1e-3)
    assert {(f.width, f.height) for f in decoded} == {(160, 120)}
    assert [round(float(f.to_ndarray(format="bgr24").mean()) / 60) for f in decoded] == [0, 1, 2, 3]
    with open_source(parse_source(str(path)), SourceSettings()) as source:
        assert len(list(iter(source.read, None))) == 4


def test_frames_at_one_time_or_back_in_time_still_make_a_video(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "out.mp4", None)
    for index, seconds in enumerate([0.0, 0.0, 1.0, 0.5]):
        sink.write(result(frame(index, seconds)))
    sink.close()
    with av.open(str(tmp_path / "out.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 4


def test_a_video_without_frames_leaves_no_file(tmp_path: Path) -> None:
    VideoSink(tmp_path / "out.mp4").close()
    assert not (tmp_path / "out.mp4").exists()


def test_a_video_needs_an_mp4_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.mp4"):
        VideoSink(tmp_path / "out.avi")


def test_what_a_full_disk_took_of_a_fragment_is_taken_back(tmp_path: Path) -> None:
    """Half a fragment is an error to some players, PyAV among them."""
    path, noise = tmp_path / "out.mp4", np.random.default_rng(0)
    sink = IsolatedSink(VideoSink(path, 5))
    with disk_of(150_000):
        for index in range(60):
            sink.write(result(frame(index, index / 5, noise.integers(0, 255, (120, 160, 3), np.uint8))))
    assert sink.errors == 1
    sink.close()
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
    assert path.stat().st_size < 150_000


def test_recording_goes_on_in_a_second_file_after_a_full_disk(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    inner = VideoSink(tmp_path / "out.mp4", 5)
    inner.retry_s = 0.0
    sink = IsolatedSink(inner)
    with disk_of(100_000):
        for index in range(60):
            sink.write(result(frame(index, index / 5, np.roll(noise, index * 7, axis=1))))
            if sink.errors:
                break
        assert sink.errors == 1
    for index in range(60, 70):
        sink.write(result(frame(index, index / 5, noise)))
    sink.close()
    assert sink.last_error is None
    for name in ("out.mp4", "out-2.mp4"):
        with open_source(parse_source(str(tmp_path / name)), SourceSettings()) as source:
            assert len(list(iter(source.read, None))) >= 10


@pytest.mark.parametrize("display", ["", ":987"])
def test_a_machine_without_a_display_gets_a_hint_and_no_abort(display: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("QT_QPA_PLATFORM", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    if sys.platform != "linux":
        pytest.skip("only Linux names its display")
    assert display_problem()
    with pytest.raises(UsageError, match="--headless"):
        WindowSink()


def test_the_summary_counts_each_person_once_under_the_last_label(tmp_path: Path) -> None:
    sink = SummarySink(tmp_path / "summary.json")
    life = Lifecycle("door", 1.5)
    for index, label in enumerate(["mask", "mask", "no_mask"]):
        found = result(frame(index), (1, label, 0.5), (2, "mask", 0.9))  # type: ignore[arg-type]
        found.events = life.update(found)
        sink.write(found)
    sink.count(life.close())
    sink.extra["fps"] = 12.5
    sink.close()
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "frames": 3,
        "media_seconds": 0.08,
        "faces": 6,
        "persons": 2,
        "verdicts": {"mask": 1, "no_mask": 1, "unsure": 0},
        "events": 5,
        "fps": 12.5,
    }
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


class Flaky:
    """A sink that fails for a while."""

    name, retry_s, catches_up = "flaky", 0.0, False

    def __init__(self) -> None:
        self.calls, self.failing = 0, True

    def write(self, result: FrameResult) -> None:
        self.calls += 1
        if self.failing:
            raise OSError("no route")

    def close(self) -> None:
        raise RuntimeError("already gone")


def test_a_failing_sink_is_told_once_counted_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    flaky = Flaky()
    sink = IsolatedSink(flaky)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            sink.write(result(frame()))
        flaky.failing = False
        sink.write(result(frame()))
    assert [r.getMessage() for r in caplog.records] == ["flaky: OSError: no route", "flaky: works again"]
    assert (sink.errors, sink.last_error, flaky.calls) == (3, None, 4)
    sink.close()
    assert sink.errors == 4


def test_a_failed_sink_is_left_alone_for_its_pause() -> None:
    flaky = Flaky()
    flaky.retry_s = 60.0
    sink = IsolatedSink(flaky)
    for _ in range(3):
        sink.write(result(frame()))
    assert (flaky.calls, sink.errors, sink.skipped) == (1, 1, 2)


def test_events_given_up_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_app.outputs.jsonl._KEEP", 2)
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    sink = JsonlSink(Path("/dev/full"))
    events: list[Event] = told().events
    for _ in range(5):
        with pytest.raises(SinkError):
            sink.append(events)
    assert sink.lost == 3

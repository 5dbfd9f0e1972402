"""Outputs on real files and real full devices, and what a failing one does to others."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SinkError, UsageError
from edge_app.outputs.events.jsonl import JsonlOutput
from edge_app.outputs.frames.video import VideoOutput
from edge_app.outputs.frames.window import WindowOutput, display_problem
from edge_app.outputs.output import FrameOutput, Isolation
from edge_app.outputs.summary_file import check_summary
from edge_app.outputs.tally import Tally
from edge_app.people.lifecycle import Lifecycle
from edge_app.records import FrameResult
from tests.clock import Clock
from tests.disk import count_lines, disk_of
from tests.media import event, frame, grey, result

full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


@pytest.mark.parametrize("make", [JsonlOutput, VideoOutput, check_summary])
def test_an_unwritable_path_fails_at_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"out\.mp4.*(Not a directory|File exists)"):
        make(tmp_path / "file" / "out.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SinkError, match=r"folder\.mp4.*[Ii]s a directory"):
        make(tmp_path / "folder.mp4")


class TestEvents:
    def test_appended_one_a_line(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        for _ in range(2):
            output = JsonlOutput(path)
            output.write(event())
            output.flush()
            assert path.read_bytes().endswith(b"}\n")  # there before the output is closed
            output.close()
        assert [json.loads(line)["type"] for line in path.read_text().splitlines()] == ["new", "new"]

    def test_a_torn_last_line_gets_its_end_first(self, tmp_path: Path) -> None:
        path = tmp_path / "events.jsonl"
        path.write_text('{"type": "ne')
        output = JsonlOutput(path)
        output.write(event())
        output.write(event())
        output.close()
        torn, *whole = path.read_text().splitlines()
        assert torn == '{"type": "ne'
        assert [json.loads(line)["label"] for line in whole] == ["mask", "mask"]

    @full_device
    def test_a_full_device_is_an_error_and_its_events_are_counted(self) -> None:
        output = JsonlOutput(Path("/dev/full"))
        with pytest.raises(SinkError, match="No space"):
            output.write(event())
        with pytest.raises(SinkError, match="1 events are lost"):
            output.close()
        assert output.lost == 1

    @full_device
    def test_events_given_up_are_counted(self) -> None:
        output = JsonlOutput(Path("/dev/full"), keep=2)
        for index in range(5):
            with pytest.raises(SinkError):
                output.write(event(index))
        assert output.lost == 3

    def test_events_given_up_are_told_in_the_end_though_the_others_found_room(self, tmp_path: Path) -> None:
        path, clock = tmp_path / "events.jsonl", Clock()
        output = JsonlOutput(path, keep=2, clock=clock)
        output.write(event(0))
        with disk_of(path.stat().st_size):
            for index in range(1, 5):
                with pytest.raises(SinkError):
                    output.write(event(index))
        with pytest.raises(SinkError, match="2 events are lost"):
            output.close()
        assert count_lines(path) == 3

    def test_a_line_that_fits_in_part_is_taken_back_and_written_when_there_is_room(self, tmp_path: Path) -> None:
        path, clock = tmp_path / "events.jsonl", Clock()
        output = JsonlOutput(path, clock=clock)
        output.write(event(0))
        whole = path.read_bytes()
        with disk_of(len(whole) + 10):
            for index in (1, 2):
                with pytest.raises(SinkError, match="only part of a line"):
                    output.write(event(index))
                assert path.read_bytes() == whole
                clock.now += 1
        output.write(event(3))
        output.close()
        times = [json.loads(line)["time"] for line in path.read_text().splitlines()]
        assert len(times) == 4
        assert times == sorted(times)

    def test_a_full_disk_is_not_tried_at_every_frame(self, tmp_path: Path) -> None:
        """Each try shows a part of a line to whoever reads the file."""
        path, clock = tmp_path / "events.jsonl", Clock()
        output = JsonlOutput(path, clock=clock)
        output.write(event(0))
        with disk_of(path.stat().st_size + 10):
            with pytest.raises(SinkError):
                output.write(event(1))
            tried = path.stat().st_mtime_ns
            clock.now += 0.4
            with pytest.raises(SinkError):
                output.write(event(2))
            assert path.stat().st_mtime_ns == tried
            clock.now += 0.2
            with pytest.raises(SinkError):
                output.flush()
            assert path.stat().st_mtime_ns > tried
        output.close()
        assert count_lines(path) == 3


class TestVideo:
    def test_it_is_h264_with_the_times_of_its_frames(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mp4"
        output = VideoOutput(path, 25)
        times = [5.0, 5.04, 5.5, 6.0]  # a live source: starts anywhere, comes unevenly
        sizes = [(161, 121), (161, 121), (80, 60), (162, 122)]
        for index, (seconds, size) in enumerate(zip(times, sizes, strict=True)):
            output.write(result(frame(index, seconds, grey(60 * index, *size))))
        output.close()
        with av.open(str(path)) as video:
            stream = video.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            decoded = list(video.decode(stream))
        assert [f.time for f in decoded] == pytest.approx([0, 0.04, 0.5, 1.0], abs=1e-3)
        assert {(f.width, f.height) for f in decoded} == {(160, 120)}
        assert [round(float(f.to_ndarray(format="bgr24").mean()) / 60) for f in decoded] == [0, 1, 2, 3]
        with open_source(parse_source(str(path)), SourceSettings()) as source:
            assert len(list(iter(source.read, None))) == 4

    def test_frames_at_one_time_or_back_in_time_still_make_one(self, tmp_path: Path) -> None:
        output = VideoOutput(tmp_path / "out.mp4", None)
        for index, seconds in enumerate([0.0, 0.0, 1.0, 0.5]):
            output.write(result(frame(index, seconds)))
        output.close()
        with av.open(str(tmp_path / "out.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == 4

    def test_one_without_frames_leaves_no_file(self, tmp_path: Path) -> None:
        VideoOutput(tmp_path / "out.mp4").close()
        assert not (tmp_path / "out.mp4").exists()

    def test_it_needs_an_mp4_name(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"\.mp4"):
            VideoOutput(tmp_path / "out.avi")

    def test_what_a_full_disk_took_of_a_fragment_is_taken_back(self, tmp_path: Path) -> None:
        """Half a fragment is an error to some players, PyAV among them."""
        path, noise = tmp_path / "out.mp4", np.random.default_rng(0)
        output = VideoOutput(path, 5)
        isolation = Isolation(output.name, output.retry_s)
        with disk_of(150_000):
            for index in range(60):
                picture = result(frame(index, index / 5, noise.integers(0, 255, (120, 160, 3), np.uint8)))
                isolation.attempt(lambda picture=picture: output.write(picture))
        assert isolation.errors == 1
        output.close()
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) > 0
        assert path.stat().st_size < 150_000

    def test_it_goes_on_in_a_second_file_after_a_full_disk(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        output = VideoOutput(tmp_path / "out.mp4", 5)

        def fill() -> None:
            for index in range(60):
                output.write(result(frame(index, index / 5, np.roll(noise, index * 7, axis=1))))

        with disk_of(100_000), pytest.raises(SinkError, match="cannot be written"):
            fill()
        for index in range(60, 70):
            output.write(result(frame(index, index / 5, noise)))
        output.close()
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
        WindowOutput()


def test_the_tally_counts_each_person_once_under_the_last_label() -> None:
    tally, life = Tally(), Lifecycle("door", 1.5)
    for index, label in enumerate(["mask", "mask", "no_mask"]):
        found = result(frame(index), (1, label, 0.5), (2, "mask", 0.9))  # type: ignore[arg-type]
        tally.add(found)
        tally.count(life.update(found))
    assert tally.present == {"mask": 1, "no_mask": 1, "unsure": 0}
    tally.count(life.close())
    assert (tally.frames, tally.faces, tally.media_seconds) == (3, 6, 0.08)
    assert (tally.events, tally.persons) == (5, 2)
    assert tally.verdicts == {"mask": 1, "no_mask": 1, "unsure": 0}
    assert tally.label_changes == {"mask": 2, "no_mask": 1, "unsure": 0}
    assert tally.present == {"mask": 0, "no_mask": 0, "unsure": 0}


class Flaky(FrameOutput):
    """An output that fails for a while."""

    name = "flaky"

    def __init__(self) -> None:
        self.calls, self.failing = 0, True

    def write(self, result: FrameResult) -> None:
        self.calls += 1
        if self.failing:
            raise OSError("no route")

    def close(self) -> None:
        raise RuntimeError("already gone")


class TestIsolation:
    def test_a_failing_output_is_told_once_counted_and_tried_again(self, caplog: pytest.LogCaptureFixture) -> None:
        flaky, isolation = Flaky(), Isolation("flaky")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert not isolation.attempt(lambda: flaky.write(result(frame())))
            assert isolation.last_error == "OSError: no route"
            flaky.failing = False
            assert isolation.attempt(lambda: flaky.write(result(frame())))
        assert [r.getMessage() for r in caplog.records] == ["flaky: OSError: no route", "flaky: works again"]
        assert (isolation.errors, isolation.last_error, flaky.calls) == (3, None, 4)
        assert not isolation.attempt_now(flaky.close)
        assert (isolation.errors, isolation.last_error) == (4, "RuntimeError: already gone")

    def test_it_is_left_alone_for_its_pause(self) -> None:
        clock, flaky = Clock(), Flaky()
        isolation = Isolation("flaky", 60.0, clock)
        for _ in range(3):
            assert not isolation.attempt(lambda: flaky.write(result(frame())))
        assert (flaky.calls, isolation.errors, isolation.skipped) == (1, 1, 2)
        clock.now += 61
        isolation.attempt(lambda: flaky.write(result(frame())))
        assert (flaky.calls, isolation.errors, isolation.skipped) == (2, 2, 2)

    def test_a_success_that_was_not_asked_for_says_nothing_about_the_failure(self) -> None:
        isolation = Isolation("flaky")
        isolation.attempt(Flaky().close)
        assert isolation.attempt_now(lambda: None)
        assert isolation.last_error == "RuntimeError: already gone"

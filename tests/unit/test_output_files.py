"""What becomes of the files of a run that others move, remove, read or have written before."""

import json
import os
import shutil
import stat
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import OutputSettings
from edge_app.errors import SinkError
from edge_app.outputs import jsonl
from edge_app.outputs.fan_out import Outputs
from edge_app.outputs.jsonl import JsonlSink, SharedJsonlSink
from edge_app.outputs.sink import IsolatedSink
from edge_app.outputs.summary import SummarySink
from edge_app.outputs.video import VideoSink, whole_fragments
from tests.media import frame, grey, result
from tests.unit.test_sinks import disk_of, told

INFO = SourceInfo("film", "file", False, 160, 120, 25.0, None)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def count(path: Path) -> int:
    """The lines of a file, each of which has to be whole."""
    return len([json.loads(line) for line in path.read_text().splitlines()])


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


class TestRotation:
    def test_moved_and_made_again_as_logrotate_does(self, tmp_path: Path) -> None:
        path, old = tmp_path / "e.jsonl", tmp_path / "e.jsonl.1"
        sink = JsonlSink(path)
        sink.write(told(0))
        path.rename(old)
        path.touch(0o640)
        for index in range(1, 4):
            sink.write(told(index))
        sink.close()
        assert (count(old), count(path), mode(path)) == (1, 3, 0o640)

    def test_moved_alone(self, tmp_path: Path) -> None:
        path, old = tmp_path / "e.jsonl", tmp_path / "e.jsonl.1"
        sink = JsonlSink(path, 0o640)
        sink.write(told(0))
        path.rename(old)
        sink.write(told(1))
        sink.close()
        assert (count(old), count(path), mode(path)) == (1, 1, 0o640)

    def test_removed_with_its_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "log" / "e.jsonl"
        sink = JsonlSink(path)
        sink.write(told(0))
        path.unlink()
        path.parent.rmdir()
        sink.write(told(1))
        sink.close()
        assert count(path) == 1

    def test_cut_to_nothing_in_place(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        sink = JsonlSink(path)
        sink.write(told(0))
        os.truncate(path, 0)
        sink.write(told(1))
        sink.close()
        assert count(path) == 1

    def test_a_file_that_cannot_be_opened_again_holds_the_events(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        inner = JsonlSink(path)
        sink = IsolatedSink(inner)
        sink.write(told(0))
        path.rename(tmp_path / "old")
        path.mkdir()
        for index in range(1, 4):
            sink.write(told(index))
        assert sink.errors == 3
        assert "directory" in str(sink.last_error)
        path.rmdir()
        sink.write(result(frame(4)))
        assert (sink.last_error, count(path)) == (None, 3)
        sink.close()
        assert inner.lost == 0

    def test_reopen_lets_go_of_the_old_file_without_an_event(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        with Outputs(OutputSettings(events=path), INFO) as outputs:
            path.rename(tmp_path / "old")
            outputs.write(result(frame(0)))
            assert not path.exists()
            outputs.reopen()
            outputs.write(result(frame(1)))
            assert path.exists()
            open_files = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
            assert str(tmp_path / "old") not in open_files

    def test_reopen_of_a_shared_file(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        inner = JsonlSink(path)
        shared = SharedJsonlSink(inner)
        with Outputs(OutputSettings(), INFO, shared) as outputs:
            path.rename(tmp_path / "old")
            outputs.reopen()
            outputs.write(result(frame(0)))
        inner.close()
        assert path.exists()

    def test_nothing_is_lost_while_the_file_is_moved_again_and_again(self, tmp_path: Path) -> None:
        path, done, moved = tmp_path / "e.jsonl", threading.Event(), list[Path]()

        def rotate() -> None:
            while not done.wait(0.001):
                old = tmp_path / f"{len(moved)}.old"
                try:
                    path.rename(old)
                except FileNotFoundError:
                    continue
                moved.append(old)

        sink = JsonlSink(path)
        rotating = threading.Thread(target=rotate)
        rotating.start()
        for index in range(3000):
            sink.write(told(index))
        done.set()
        rotating.join()
        sink.close()
        files = [*moved, path] if path.exists() else moved
        assert sum(map(count, files)) == 3000
        assert len(files) > 2


class TestPipes:
    def test_events_wait_for_a_reader_that_comes_later(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        sink = IsolatedSink(JsonlSink(pipe))
        for index in range(3):
            sink.write(told(index))
        assert "nobody reads this pipe" in str(sink.last_error)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        sink.write(told(3))
        assert sink.last_error is None
        assert os.read(reader, 100_000).count(b"\n") == 4
        sink.close()
        os.close(reader)

    def test_closing_waits_for_a_reader_and_not_for_ever(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        late = JsonlSink(pipe)
        with pytest.raises(SinkError):
            late.write(told())
        read = list[bytes]()
        reader = threading.Timer(0.2, lambda: read.append(pipe.read_bytes()))
        reader.start()
        late.close()
        reader.join()
        assert read[0].count(b"\n") == 1

        monkeypatch.setattr(jsonl, "_LAST_WAIT_S", 0.2)
        never = JsonlSink(pipe)
        with pytest.raises(SinkError):
            never.write(told())
        with pytest.raises(SinkError, match="1 events are lost"):
            never.close()

    def test_a_pipe_without_events_is_no_fault(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        JsonlSink(tmp_path / "pipe").close()


class TestSummary:
    def test_the_old_one_stays_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "s.json"
        path.write_text("{}")
        sink = SummarySink(path)
        sink.write(result(frame()))
        assert path.read_text() == "{}"
        sink.close()
        assert json.loads(path.read_text())["frames"] == 1

    def test_none_is_left_behind_by_a_run_that_does_not_end(self, tmp_path: Path) -> None:
        SummarySink(tmp_path / "s.json")
        assert list(tmp_path.iterdir()) == []

    def test_a_link_planted_under_the_name_of_a_part_is_not_followed(self, tmp_path: Path) -> None:
        path, victim = tmp_path / "s.json", tmp_path / "victim"
        path.write_text("{}")
        victim.write_text("old")
        (tmp_path / "s.json.part").symlink_to(victim)
        SummarySink(path).close()
        assert victim.read_text() == "old"

    def test_file_names_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9.json")
        sink = SummarySink(path)
        sink.extra = {"source": os.fsdecode(b"caf\xe9.mp4"), "other": "café"}
        sink.close()
        facts = json.loads(path.read_text(encoding="utf-8"))
        assert (os.fsencode(facts["source"]), facts["other"]) == (b"caf\xe9.mp4", "café")


class TestVideo:
    @pytest.mark.parametrize(
        "name",
        [
            "12:30.mp4",
            "file:z.mp4",
            "%03d.mp4",
            "new\nline.mp4",
            "caf\udce9.mp4",
            "pipe:1.mp4",
            "cam:1/deep/x.mp4",
            "~x.mp4",
        ],
    )
    def test_a_name_is_a_name(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        sink = VideoSink(path, 25)
        for index in range(3):
            sink.write(result(frame(index)))
        sink.close()
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path] == [sink.path]
        assert mode(path) == 0o600
        with path.open("rb") as file, av.open(file) as container:
            assert sum(1 for _ in container.decode(video=0)) == 3

    def test_an_earlier_recording_is_kept(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "v.mp4").write_text("old")
        with Outputs(OutputSettings(video=tmp_path / "v.mp4", mode="0640"), INFO) as outputs:
            outputs.write(result(frame()))
        assert outputs.paths["video"] == str(tmp_path / "v-2.mp4")
        assert (tmp_path / "v.mp4").read_text() == "old"
        assert (frames_of(tmp_path / "v-2.mp4"), mode(tmp_path / "v-2.mp4")) == (1, 0o640)
        assert "v-2.mp4, because that exists" in caplog.text

    def test_an_earlier_recording_is_replaced_where_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "v.mp4"
        path.write_text("old")
        with Outputs(OutputSettings(video=path, overwrite=True), INFO):
            pass
        assert path.read_text() == "old"  # there was no frame
        with Outputs(OutputSettings(video=path, overwrite=True), INFO) as outputs:
            outputs.write(result(frame()))
        assert outputs.paths["video"] == str(path)
        assert frames_of(path) == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_two_runs_at_once_lose_none(self, tmp_path: Path) -> None:
        path = tmp_path / "v.mp4"
        path.write_text("old")
        sinks = [VideoSink(path, 25, overwrite=overwrite) for overwrite in (True, True, False)]
        for index in range(60):  # more than a fragment, so that all have their names before one is closed
            for sink in sinks:
                sink.write(result(frame(index)))
        for sink in sinks:
            sink.close()
        assert len({sink.path for sink in sinks}) == 3
        assert all(sink.path and frames_of(sink.path) == 60 for sink in sinks)

    def test_a_full_disk_leaves_no_empty_file_at_every_try(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        inner = VideoSink(tmp_path / "v.mp4", 5)
        inner.retry_s = 0.0
        sink = IsolatedSink(inner)
        with disk_of(2000):
            for index in range(60):
                sink.write(result(frame(index, index / 5, np.roll(noise, index * 7, axis=1))))
        assert sink.errors > 2
        sink.write(result(frame(60, 12.0)))
        sink.close()
        assert list(tmp_path.iterdir()) == [inner.path]

    def test_one_that_is_removed_is_told_and_begun_anew(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "folder" / "v.mp4"
        inner = VideoSink(path, 25)
        inner.retry_s = 0.0
        sink = IsolatedSink(inner)

        def write(start: int) -> None:
            for index in range(start, start + 120):
                sink.write(result(frame(index, index / 25)))

        write(0)
        shutil.rmtree(path.parent)
        write(120)
        assert (sink.errors, sink.last_error) == (1, None)
        assert "v.mp4: the video cannot be written (it was removed meanwhile)" in caplog.text
        path.unlink()
        sink.close()
        assert sink.last_error is not None
        assert inner.path is None
        assert list(path.parent.iterdir()) == []

    def test_another_name_is_told_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "v.mp4").write_text("old")
        sink = VideoSink(tmp_path / "v.mp4", 25)
        for index in range(120):
            sink.write(result(frame(index, index / 25)))
        sink.close()
        assert len(caplog.records) == 1

    def test_a_moved_one_is_written_on(self, tmp_path: Path) -> None:
        sink = VideoSink(tmp_path / "v.mp4", 25)
        for index in range(150):
            sink.write(result(frame(index, index / 25)))
            if index == 120:
                (tmp_path / "v.mp4").rename(tmp_path / "moved.mp4")
        sink.close()
        assert frames_of(tmp_path / "moved.mp4") == 150

    def test_a_slow_source_is_on_the_disk_with_the_next_frame(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A frame a second: a kill may take the last one, not what the encoder holds back."""
        clock = 0.0
        monkeypatch.setattr("edge_app.outputs.video.time.monotonic", lambda: clock)
        path = tmp_path / "v.mp4"
        sink = VideoSink(path, 1)
        for index in range(6):
            clock = float(index)
            sink.write(result(frame(index, clock, grey(40 * index))))
            if index > 1:
                assert whole_fragments(path) == path.stat().st_size
                assert frames_of(path) == index
        sink.close()
        assert frames_of(path) == 6

    def test_a_film_that_is_judged_slowly_is_in_short_fragments_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Four frames a second of a film of 25: its own two seconds would be twelve on the wall."""
        clock = 0.0
        monkeypatch.setattr("edge_app.outputs.video.time.monotonic", lambda: clock)
        path, lag = tmp_path / "v.mp4", list[float]()
        sink = VideoSink(path, 25)
        for index in range(80):
            clock = index / 4
            sink.write(result(frame(index)))
            if clock > 3:
                lag.append((index - frames_of(path)) / 4)
        sink.close()
        assert max(lag) <= 2
        assert frames_of(path) == 80

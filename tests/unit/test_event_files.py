"""What becomes of events and summaries in files that others move, remove, read or have written before."""

import json
import os
import threading
from pathlib import Path

import pytest

from edge_app.errors import SinkError
from edge_app.outputs.events.jsonl import JsonlOutput
from edge_app.outputs.output import Isolation
from edge_app.outputs.summary_file import check_summary, write_summary
from tests.clock import Clock
from tests.disk import count_lines, mode
from tests.media import event


class TestRotation:
    def test_moved_and_made_again_as_logrotate_does(self, tmp_path: Path) -> None:
        path, old = tmp_path / "e.jsonl", tmp_path / "e.jsonl.1"
        output = JsonlOutput(path)
        output.write(event(0))
        path.rename(old)
        path.touch(0o640)
        for index in range(1, 4):
            output.write(event(index))
        output.close()
        assert (count_lines(old), count_lines(path), mode(path)) == (1, 3, 0o640)

    def test_moved_alone(self, tmp_path: Path) -> None:
        path, old = tmp_path / "e.jsonl", tmp_path / "e.jsonl.1"
        output = JsonlOutput(path, 0o640)
        output.write(event(0))
        path.rename(old)
        output.write(event(1))
        output.close()
        assert (count_lines(old), count_lines(path), mode(path)) == (1, 1, 0o640)

    def test_the_old_file_is_let_go_of(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        output = JsonlOutput(path)
        path.rename(tmp_path / "old")
        output.write(event(0))
        open_files = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
        assert str(path) in open_files
        assert str(tmp_path / "old") not in open_files
        output.close()
        assert str(path) not in {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}

    def test_removed_with_its_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "log" / "e.jsonl"
        output = JsonlOutput(path)
        output.write(event(0))
        path.unlink()
        path.parent.rmdir()
        output.write(event(1))
        output.close()
        assert count_lines(path) == 1

    def test_cut_to_nothing_in_place(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        output = JsonlOutput(path)
        output.write(event(0))
        os.truncate(path, 0)
        output.write(event(1))
        output.close()
        assert count_lines(path) == 1

    def test_a_file_that_cannot_be_opened_again_holds_the_events(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        output, isolation = JsonlOutput(path), Isolation("events")
        output.write(event(0))
        path.rename(tmp_path / "old")
        path.mkdir()
        for index in range(1, 4):
            new = event(index)
            assert not isolation.attempt(lambda new=new: output.write(new))
        assert isolation.errors == 3
        assert "directory" in str(isolation.last_error)
        path.rmdir()
        assert isolation.attempt(output.flush)
        assert (isolation.last_error, count_lines(path)) == (None, 3)
        output.close()
        assert output.lost == 0

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

        output, new = JsonlOutput(path), event()
        rotating = threading.Thread(target=rotate)
        rotating.start()
        for _ in range(3000):
            output.write(new)
        done.set()
        rotating.join()
        output.close()
        files = [*moved, path] if path.exists() else moved
        assert sum(map(count_lines, files)) == 3000
        assert len(files) > 2


class TestPipes:
    def test_events_wait_for_a_reader_that_comes_later(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        output = JsonlOutput(pipe)
        for index in range(3):
            with pytest.raises(SinkError, match="nobody reads this pipe"):
                output.write(event(index))
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        output.write(event(3))
        assert os.read(reader, 100_000).count(b"\n") == 4
        output.close()
        os.close(reader)

    def test_closing_waits_for_a_reader(self, tmp_path: Path) -> None:
        pipe, read = tmp_path / "pipe", list[bytes]()
        os.mkfifo(pipe)
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))

        class ReaderComes(Clock):
            def __call__(self) -> float:
                if closing and reader.ident is None and self.now > 1001:
                    reader.start()
                return super().__call__()

        closing = False
        output = JsonlOutput(pipe, last_wait_s=30, clock=ReaderComes(step=0.5))
        with pytest.raises(SinkError):
            output.write(event())
        closing = True
        output.close()
        reader.join()
        assert read[0].count(b"\n") == 1

    def test_closing_does_not_wait_for_ever(self, tmp_path: Path) -> None:
        pipe, clock = tmp_path / "pipe", Clock(step=2.0)
        os.mkfifo(pipe)
        output = JsonlOutput(pipe, last_wait_s=5, clock=clock)
        with pytest.raises(SinkError):
            output.write(event())
        began = clock.now
        with pytest.raises(SinkError, match="1 events are lost"):
            output.close()
        assert 5 <= clock.now - began < 15

    def test_closing_waits_as_long_as_the_reader_takes_anything(self, tmp_path: Path) -> None:
        pipe, read = tmp_path / "pipe", bytearray()
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

        class ReadsSlowly(Clock):
            def __call__(self) -> float:
                if closing:
                    read.extend(os.read(reader, 5000))
                return super().__call__()

        closing, clock = False, ReadsSlowly(step=0.5)
        output, isolation = JsonlOutput(pipe, last_wait_s=2.0, clock=clock), Isolation("events")
        for index in range(600):
            new = event(index)
            isolation.attempt(lambda new=new: output.write(new))
        assert "nobody reads them fast enough" in str(isolation.last_error)
        closing, began = True, clock.now
        output.close()
        assert clock.now - began > 4
        os.set_blocking(reader, True)
        while data := os.read(reader, 100_000):
            read += data
        os.close(reader)
        times = [json.loads(line)["time"] for line in read.splitlines()]
        assert len(times) == 600
        assert times == sorted(times)

    def test_one_without_events_is_no_fault(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        JsonlOutput(tmp_path / "pipe").close()


class TestSummary:
    def test_the_old_one_stays_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "s.json"
        path.write_text("{}")
        check_summary(path)
        assert path.read_text() == "{}"
        write_summary(path, {"frames": 1})
        assert json.loads(path.read_text()) == {"frames": 1}
        assert list(tmp_path.iterdir()) == [path]

    def test_none_is_left_behind_by_a_run_that_does_not_end(self, tmp_path: Path) -> None:
        check_summary(tmp_path / "s.json")
        assert list(tmp_path.iterdir()) == []

    def test_a_new_one_has_the_mode_asked_for(self, tmp_path: Path) -> None:
        write_summary(tmp_path / "private.json", {})
        write_summary(tmp_path / "s.json", {}, 0o640)
        assert (mode(tmp_path / "private.json"), mode(tmp_path / "s.json")) == (0o600, 0o640)

    def test_one_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "s.json").mkdir()
        with pytest.raises(SinkError, match=r"s\.json: the summary cannot be written"):
            write_summary(tmp_path / "s.json", {})

    def test_a_link_planted_under_the_name_of_a_part_is_not_followed(self, tmp_path: Path) -> None:
        path, victim = tmp_path / "s.json", tmp_path / "victim"
        path.write_text("{}")
        victim.write_text("old")
        (tmp_path / "s.json.part").symlink_to(victim)
        check_summary(path)
        write_summary(path, {})
        assert victim.read_text() == "old"

    def test_file_names_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9.json")
        write_summary(path, {"source": os.fsdecode(b"caf\xe9.mp4"), "other": "café"})
        facts = json.loads(path.read_text(encoding="utf-8"))
        assert (os.fsencode(facts["source"]), facts["other"]) == (b"caf\xe9.mp4", "café")

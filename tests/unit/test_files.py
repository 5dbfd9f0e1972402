"""Files that are made and replaced without destroying another: real files, links, pipes and locks."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_app.outputs import files
from edge_app.outputs.frames.recording import Recording
from tests.disk import disk_of, mode


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


class TestAppend:
    def test_a_new_file_is_private_unless_asked_for_otherwise(self, tmp_path: Path) -> None:
        for wanted in (0o600, 0o640, 0o664):
            path = tmp_path / "made" / "here" / f"{wanted:o}"
            os.close(files.open_to_append(path, wanted))
            assert mode(path) == wanted

    def test_an_existing_file_keeps_its_mode_and_content(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        path.write_text("old\n")
        path.chmod(0o604)
        file = files.open_to_append(path, 0o600)
        os.write(file, b"new\n")
        os.close(file)
        assert (path.read_text(), mode(path)) == ("old\nnew\n", 0o604)

    def test_a_link_to_nothing_makes_what_it_names(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "real")
        os.close(files.open_to_append(tmp_path / "link"))
        assert (tmp_path / "real").is_file()

    def test_a_pipe_without_a_reader_is_no_wait(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="address") as caught:
            files.open_to_append(tmp_path / "pipe")
        assert caught.value.errno == errno.ENXIO

    def test_the_file_that_standard_output_goes_into_is_not_opened_again(self, tmp_path: Path) -> None:
        """A second position in the same file: each would write over the other."""
        script = (
            "import os; from pathlib import Path; from edge_app.outputs import files;"
            "os.write(1, b'one '); file = files.open_to_append(Path('/dev/stdout'));"
            "os.write(file, b'two '); os.write(1, b'three '); files.replace(Path('/dev/stdout'), b'four')"
        )
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", script], stdout=out, check=True, timeout=60)
        assert (tmp_path / "out").read_text() == "one two three four"


class TestReplace:
    def test_whole_private_and_nothing_left_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "s.json"
        files.replace(path, b"one")
        assert mode(path) == 0o600
        path.chmod(0o640)
        files.replace(path, b"two", 0o600)
        assert (path.read_bytes(), mode(path)) == (b"two", 0o640)
        assert names(tmp_path) == ["s.json"]

    def test_a_link_stays_and_what_it_names_is_replaced(self, tmp_path: Path) -> None:
        real, link = tmp_path / "folder" / "real.json", tmp_path / "link.json"
        real.parent.mkdir()
        real.write_text("old")
        link.symlink_to(real)
        files.replace(link, b"new")
        assert link.is_symlink()
        assert real.read_text() == "new"

    def test_another_name_of_the_old_file_keeps_the_old_content(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        (tmp_path / "b").hardlink_to(tmp_path / "a")
        files.replace(tmp_path / "a", b"new")
        assert (tmp_path / "b").read_text() == "old"

    def test_a_reader_sees_the_old_or_the_new_and_never_a_part(self, tmp_path: Path) -> None:
        path, seen, done = tmp_path / "s.json", set[bytes](), threading.Event()
        files.replace(path, bytes(100_000))

        def look() -> None:
            while not done.is_set():
                seen.add(path.read_bytes())

        reader = threading.Thread(target=look)
        reader.start()
        for number in range(30):
            files.replace(path, bytes([number]) * 100_000)
        done.set()
        reader.join()
        assert all(len(content) == 100_000 and len(set(content)) == 1 for content in seen)

    def test_the_check_leaves_no_file_and_changes_none(self, tmp_path: Path) -> None:
        files.check_replaceable(tmp_path / "new" / "s.json")
        assert names(tmp_path / "new") == []
        (tmp_path / "old").write_text("old")
        before = (tmp_path / "old").stat()
        files.check_replaceable(tmp_path / "old")
        assert (tmp_path / "old").stat() == before

    @pytest.mark.parametrize("name", ["folder", "file/x"])
    def test_the_check_tells_what_cannot_be_written(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").touch()
        with pytest.raises(OSError, match="directory"):
            files.check_replaceable(tmp_path / name)

    def test_a_pipe_is_written_to_and_one_that_nobody_reads_is_given_up(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        files.check_replaceable(pipe)
        with pytest.raises(OSError, match="nobody has read it"):
            files.replace(pipe, b"x", wait_s=0.1)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        files.replace(pipe, b"text")
        assert os.read(reader, 100) == b"text"
        with pytest.raises(OSError, match="nobody has read it"):
            files.replace(pipe, bytes(10_000_000), wait_s=0.1)
        os.close(reader)
        assert pipe.is_fifo()


class TestNew:
    def test_what_is_there_is_kept_whatever_it_is(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_text("old")
        (tmp_path / "p.png").symlink_to(victim)
        (tmp_path / "p_2.png").symlink_to(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "p_3.png")
        (tmp_path / "p_4.png").mkdir()
        assert files.write_new(tmp_path / "p.png", b"new", joint="_") == tmp_path / "p_5.png"
        assert victim.read_text() == "old"
        assert not (tmp_path / "nowhere").exists()
        assert ((tmp_path / "p_5.png").read_bytes(), mode(tmp_path / "p_5.png")) == (b"new", 0o600)

    def test_overwriting_replaces_the_link_and_not_what_it_names(self, tmp_path: Path) -> None:
        victim, link = tmp_path / "victim", tmp_path / "p.png"
        victim.write_text("old")
        link.symlink_to(victim)
        assert files.write_new(link, b"new", overwrite=True) == link
        assert (victim.read_text(), link.read_bytes(), link.is_symlink()) == ("old", b"new", False)

    def test_a_full_disk_leaves_no_part(self, tmp_path: Path) -> None:
        with disk_of(1000), pytest.raises(OSError, match="too large"):
            files.write_new(tmp_path / "p.png", bytes(2000))
        assert names(tmp_path) == []


class TestRecording:
    def test_a_free_name_at_once(self, tmp_path: Path) -> None:
        for name in ("v.mp4", "v-2.mp4", "v-3.mp4"):
            with Recording(tmp_path / "v.mp4") as recording:
                recording.settle()
                assert recording.path == tmp_path / name
                assert mode(tmp_path / name) == 0o600

    def test_many_at_once_get_a_name_each(self, tmp_path: Path) -> None:
        found = list[Path | None]()

        def record() -> None:
            with Recording(tmp_path / "v.mp4") as recording:
                recording.settle()
                found.append(recording.path)

        threads = [threading.Thread(target=record) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == len(names(tmp_path)) == 20

    def test_nothing_is_to_be_seen_before_it_is_worth_a_name(self, tmp_path: Path) -> None:
        with Recording(tmp_path / "v.mp4"):
            assert names(tmp_path) == []
        assert names(tmp_path) == []

    def test_a_disk_without_nameless_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "O_TMPFILE")
        (tmp_path / "v.mp4").write_text("old")
        for overwrite, name, text in ((False, "v-2.mp4", b"one"), (True, "v.mp4", b"two")):
            with Recording(tmp_path / "v.mp4", overwrite=overwrite) as recording:
                recording.write(text)
                recording.settle()
                assert (tmp_path / name).read_bytes() == text
        Recording(tmp_path / "v.mp4").discard()
        assert names(tmp_path) == ["v-2.mp4", "v.mp4"]

    def test_overwriting_waits_for_the_first_picture(self, tmp_path: Path) -> None:
        path = tmp_path / "v.mp4"
        path.write_text("old")
        path.chmod(0o640)
        with Recording(path, overwrite=True) as unused:
            unused.discard()
        assert (path.read_text(), names(tmp_path)) == ("old", ["v.mp4"])
        with Recording(path, overwrite=True) as recording:
            recording.write(b"new")
            assert path.read_text() == "old"
            recording.settle()
            assert (path.read_text(), mode(path), recording.path) == ("new", 0o640, path)
        assert names(tmp_path) == ["v.mp4"]

    def test_overwriting_leaves_what_another_run_writes(self, tmp_path: Path) -> None:
        path = tmp_path / "v.mp4"
        path.write_text("old")
        first, second = Recording(path, overwrite=True), Recording(path, overwrite=True)
        for recording, text in ((first, b"first"), (second, b"second")):
            recording.write(text)
            recording.settle()
        assert (first.path, second.path) == (path, tmp_path / "v-2.mp4")
        for recording in (first, second):
            recording.close()
        assert names(tmp_path) == ["v-2.mp4", "v.mp4"]
        assert (path.read_text(), (tmp_path / "v-2.mp4").read_text()) == ("first", "second")

    def test_overwriting_another_process_s_recording(self, tmp_path: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from edge_app.outputs.frames.recording import Recording;"
            "r = Recording(Path(sys.argv[1])); r.settle(); r.write(b'theirs'); print(flush=True); sys.stdin.read()"
        )
        path = tmp_path / "v.mp4"
        with subprocess.Popen(
            [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with Recording(path, overwrite=True) as recording:
                recording.settle()
                assert recording.path == tmp_path / "v-2.mp4"
            other.communicate()
        assert path.read_text() == "theirs"
        with Recording(path, overwrite=True) as recording:  # it has ended: its lock is gone
            recording.settle()
            assert recording.path == path

    def test_a_name_without_room_for_a_number_is_cut(self, tmp_path: Path) -> None:
        """What was recorded must not be lost because it cannot be named."""
        path = tmp_path / ("é" * 125 + ".mp4")
        for number in ("", "-2", "-3"):
            with Recording(path) as recording:
                recording.settle()
                assert recording.path == tmp_path / ("é" * (125 - len(number) // 2) + f"{number}.mp4")

    def test_overwriting_through_a_link_replaces_what_it_names(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        real, link = tmp_path / "folder" / "real.mp4", tmp_path / "v.mp4"
        real.write_text("old")
        link.symlink_to(real)
        with Recording(link, overwrite=True) as recording:
            recording.write(b"new")
            recording.settle()
        assert link.is_symlink()
        assert real.read_text() == "new"

    def test_discarding_removes_no_file_of_another(self, tmp_path: Path) -> None:
        recording = Recording(tmp_path / "v.mp4")
        recording.settle()
        (tmp_path / "v.mp4").unlink()
        (tmp_path / "v.mp4").write_text("another's")
        recording.discard()
        assert (tmp_path / "v.mp4").read_text() == "another's"

"""What becomes of videos that others move, remove, read or have written before."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.source import SourceInfo
from edge_app.config.settings import OutputSettings, Settings
from edge_app.errors import SinkError
from edge_app.outputs.frame_outputs import FrameOutputs
from edge_app.outputs.frames.video import VideoOutput, whole_fragments
from edge_app.outputs.output import Isolation
from edge_app.records import FrameResult
from tests.clock import Clock
from tests.disk import disk_of, mode
from tests.media import frame, grey, result

INFO = SourceInfo("film", "file", False, 160, 120, 25.0, None)


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def outputs_with(video: Path, **more: object) -> FrameOutputs:
    return FrameOutputs(Settings(output=OutputSettings(video=video, **more)), INFO)  # type: ignore[arg-type]


def write(video: VideoOutput, isolation: Isolation, judged: FrameResult) -> None:
    """As a run does, without the pause after a failure."""
    isolation.attempt(lambda: video.write(judged))


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
        video = VideoOutput(path, 25)
        for index in range(3):
            video.write(result(frame(index)))
        video.close()
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path] == [video.path]
        assert mode(path) == 0o600
        with path.open("rb") as file, av.open(file) as container:
            assert sum(1 for _ in container.decode(video=0)) == 3

    def test_an_earlier_recording_is_kept(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "v.mp4").write_text("old")
        with outputs_with(tmp_path / "v.mp4", mode="0640") as outputs:
            outputs.write(result(frame()))
        assert outputs.paths == {"video": tmp_path / "v-2.mp4"}
        assert (tmp_path / "v.mp4").read_text() == "old"
        assert (frames_of(tmp_path / "v-2.mp4"), mode(tmp_path / "v-2.mp4")) == (1, 0o640)
        assert "v-2.mp4, because that exists" in caplog.text

    def test_an_earlier_recording_is_replaced_where_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "v.mp4"
        path.write_text("old")
        with outputs_with(path, overwrite=True):
            pass
        assert path.read_text() == "old"  # there was no frame
        with outputs_with(path, overwrite=True) as outputs:
            outputs.write(result(frame()))
        assert outputs.paths == {"video": path}
        assert frames_of(path) == 1
        assert list(tmp_path.iterdir()) == [path]

    def test_two_runs_at_once_lose_none(self, tmp_path: Path) -> None:
        path = tmp_path / "v.mp4"
        path.write_text("old")
        videos = [VideoOutput(path, 25, overwrite=overwrite) for overwrite in (True, True, False)]
        for index in range(60):  # more than a fragment, so that all have their names before one is closed
            for video in videos:
                video.write(result(frame(index)))
        for video in videos:
            video.close()
        assert len({video.path for video in videos}) == 3
        assert all(video.path and frames_of(video.path) == 60 for video in videos)

    def test_a_full_disk_leaves_no_empty_file_at_every_try(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
        video, isolation = VideoOutput(tmp_path / "v.mp4", 5), Isolation("video")
        with disk_of(2000):
            for index in range(60):
                write(video, isolation, result(frame(index, index / 5, np.roll(noise, index * 7, axis=1))))
        assert isolation.errors > 2
        write(video, isolation, result(frame(60, 12.0)))
        video.close()
        assert list(tmp_path.iterdir()) == [video.path]

    def test_one_that_is_removed_is_told_and_begun_anew(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        path = tmp_path / "folder" / "v.mp4"
        video, isolation = VideoOutput(path, 25), Isolation("video")
        for index in range(240):
            if index == 120:
                shutil.rmtree(path.parent)
            write(video, isolation, result(frame(index, index / 25)))
        assert (isolation.errors, isolation.last_error) == (1, None)
        assert "v.mp4: the video cannot be written (it was removed meanwhile)" in caplog.text
        path.unlink()
        with pytest.raises(SinkError, match="removed meanwhile"):
            video.close()
        assert video.path is None
        assert list(path.parent.iterdir()) == []

    def test_another_name_is_told_once(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "v.mp4").write_text("old")
        video = VideoOutput(tmp_path / "v.mp4", 25)
        for index in range(120):
            video.write(result(frame(index, index / 25)))
        video.close()
        assert len(caplog.records) == 1

    def test_a_moved_one_is_written_on(self, tmp_path: Path) -> None:
        video = VideoOutput(tmp_path / "v.mp4", 25)
        for index in range(150):
            video.write(result(frame(index, index / 25)))
            if index == 120:
                (tmp_path / "v.mp4").rename(tmp_path / "moved.mp4")
        video.close()
        assert frames_of(tmp_path / "moved.mp4") == 150

    def test_a_slow_source_is_on_the_disk_with_the_next_frame(self, tmp_path: Path) -> None:
        """A frame a second: a kill may take the last one, not what the encoder holds back."""
        path, clock = tmp_path / "v.mp4", Clock()
        video = VideoOutput(path, 1, clock=clock)
        for index in range(6):
            clock.now += 1
            video.write(result(frame(index, float(index), grey(40 * index))))
            if index > 1:
                assert whole_fragments(path) == path.stat().st_size
                assert frames_of(path) == index
        video.close()
        assert frames_of(path) == 6

    def test_a_film_that_is_judged_slowly_is_in_short_fragments_all_the_same(self, tmp_path: Path) -> None:
        """Four frames a second of a film of 25: its own two seconds would be twelve on the wall."""
        path, clock, lag = tmp_path / "v.mp4", Clock(), list[float]()
        video = VideoOutput(path, 25, clock=clock)
        for index in range(80):
            clock.now += 1 / 4
            video.write(result(frame(index)))
            if index > 12:
                lag.append((index - frames_of(path)) / 4)
        video.close()
        assert max(lag) <= 2
        assert frames_of(path) == 80

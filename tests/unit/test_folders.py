"""Folders: what is found in them, in which order, and what a list of sources becomes."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_app.capture.folders import list_images, list_media
from edge_app.capture.open import expand_sources, parse_source
from edge_app.errors import SourceError, UsageError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pictures_come_in_the_order_people_count(tmp_path: Path) -> None:
    touch(tmp_path, *(f"img{i}.jpg" for i in range(1, 13)), "IMG0.PNG", "roll 2/1.tif", "roll 10/1.tif")
    names = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert names == ["IMG0.PNG", *(f"img{i}.jpg" for i in range(1, 13)), "roll 2/1.tif", "roll 10/1.tif"]


def test_who_asks_for_pictures_where_only_videos_are_is_told_how_to_play_them(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.mkv", "notes.txt")
    with pytest.raises(SourceError, match=r"no pictures in this folder; its videos \(2\) are played by edge-app run"):
        list_images(tmp_path)


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "._a.jpg", ".b.mp4", ".thumbnails/c.jpg", "notes.txt")
    media = list_media(str(tmp_path))
    assert (media.pictures, media.videos, media.errors) == ([str(tmp_path / "a.jpg")], [], [])


@pytest.mark.parametrize("suffix", ["avif", "gif", "jp2", "jfif", "mpo", "heic", "HEIF", "jpe"])
def test_no_kind_of_picture_is_skipped_in_silence(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a.{suffix}")
    assert list_images(tmp_path) == [tmp_path / f"a.{suffix}"]
    assert parse_source(f"a.{suffix}").kind == "images"


def test_loops_of_links_end_and_links_that_lead_nowhere_stay_in_the_list(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to("sub")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    found = [path.name for path in list_images(tmp_path)]
    assert found == ["a.jpg", "gone.jpg", "long.jpg", "b.jpg"]


@contextmanager
def nested(folder: Path, name: str, depth: int) -> Iterator[None]:
    """Folders in folders, the innermost being the working directory; deeper than `shutil.rmtree` could remove."""
    there = os.getcwd()  # noqa: PTH109
    try:
        os.chdir(folder)
        for _ in range(depth):
            Path(name).mkdir()
            os.chdir(name)
        yield
    finally:
        for path in Path().iterdir():
            path.unlink()
        for _ in range(depth):
            os.chdir("..")
            Path(name).rmdir()
        os.chdir(there)


def test_folders_deeper_than_python_can_call_itself(tmp_path: Path) -> None:
    with nested(tmp_path, "d", 1200):
        Path("a.jpg").touch()
        assert [path.name for path in list_images(tmp_path)] == ["a.jpg"]


def test_a_subfolder_that_is_too_deep_to_name_is_told_and_the_rest_listed(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    told: list[SourceError] = []
    with nested(tmp_path, "d" * 200, 25):  # longer together than any path may be
        assert list_images(tmp_path, told.append) == [tmp_path / "a.jpg"]
    (error,) = told
    assert "name too long" in str(error)


def test_a_folder_of_videos_becomes_its_videos(tmp_path: Path) -> None:
    touch(tmp_path, "clip 10.mp4", "clip 2.MOV", "day 2/a.ts", "notes.txt")
    expected = ["clip 2.MOV", "clip 10.mp4", "day 2/a.ts"]
    assert expand_sources([str(tmp_path)]) == [str(tmp_path / name) for name in expected]


def test_of_a_folder_with_both_kinds_the_videos_are_played_and_the_pictures_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.mp4", "1.jpg", "2.jpg")
    with caplog.at_level(logging.WARNING):
        assert expand_sources([str(tmp_path)]) == [str(tmp_path / "a.mp4")]
    (line,) = caplog.messages
    assert "pictures (2)" in line
    assert "edge-app image" in line


def test_other_sources_stay_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "photos/1.jpg", "a.mp4")
    texts = [str(tmp_path / "photos"), str(tmp_path / "a.mp4"), "photo.jpg", "demo"]
    assert expand_sources(texts) == texts
    for alone in ("0", "rtsp://host/1", "csi://0", "videotestsrc ! appsink"):
        assert expand_sources([alone]) == [alone]
    assert expand_sources([]) == []


@pytest.mark.parametrize("live", ["0", "rtsp://u:secret@host/1", "csi://0", "videotestsrc ! appsink"])
def test_a_live_source_may_stand_among_files(live: str) -> None:
    assert expand_sources(["a.mp4", live]) == ["a.mp4", live]


@pytest.mark.parametrize("name", ["demo", "0", "~root", "a ! b", " spaced ", "~nobody-of-this-name"])
def test_names_in_a_folder_that_look_like_something_else_stay_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    touch(tmp_path, f"{name}/{name}.mp4", f"{name}.mp4")
    monkeypatch.chdir(tmp_path)
    for text in expand_sources([f"./{name}"]) + expand_sources(["."]):
        spec = parse_source(text)
        assert spec.kind == "file"
        assert Path(spec.uri).is_file()


@pytest.mark.parametrize("text", ["x" * 5000, "x" * 300 + ".mp4"])
def test_a_name_that_is_too_long_is_no_source(text: str) -> None:
    with pytest.raises(UsageError, match="too long") as caught:
        parse_source(text)
    assert len(str(caught.value)) < 200

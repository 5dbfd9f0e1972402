"""Outputs that would destroy what a run reads, or each other."""

import os
from pathlib import Path
from typing import Any

import pytest

from edge_app.config.settings import Settings
from edge_app.errors import UsageError
from edge_app.inference.model import models_dir
from edge_app.outputs.clashes import check, check_outputs

pytestmark = pytest.mark.usefixtures("empty_folder")


def settings(uri: object = "c.mp4", **sections: Any) -> Settings:
    return Settings.model_validate({"source": {"uri": str(uri)}, **sections})


def refused(one: Settings, config: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        check_outputs(one, config)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["video", "events", "summary"])
@pytest.mark.parametrize("name", ["c.mp4", "./c.mp4", "sub/../c.mp4", "link.mp4", "hard.mp4", "to/c.mp4", "absolute"])
def test_the_source_by_any_name(tmp_path: Path, kind: str, name: str) -> None:
    Path("c.mp4").touch()
    Path("sub").mkdir()
    Path("link.mp4").symlink_to("c.mp4")
    Path("hard.mp4").hardlink_to("c.mp4")
    Path("to").symlink_to(tmp_path, target_is_directory=True)
    path = str(tmp_path / "c.mp4") if name == "absolute" else name
    flag = "--output" if kind == "video" else f"--{kind}"
    assert refused(settings(output={kind: path})).startswith(f"{flag} {Path(path)}: this file is the source")
    check_outputs(settings("demo", output={kind: path}))  # nothing is read there


def test_the_source_of_a_gstreamer_pipeline() -> None:
    Path("c.mp4").touch()
    pipeline = "filesrc location=c.mp4 ! decodebin ! videoconvert ! appsink"
    assert "the source" in refused(settings(pipeline, output={"summary": "c.mp4"}))


def test_a_picture_of_a_source_folder_and_a_link_to_one() -> None:
    Path("film").mkdir()
    for name in ("a.png", "b.jpg", "e.jsonl"):
        Path("film", name).touch()
    Path("hard").hardlink_to("film/b.jpg")
    for name in ("film/a.png", "hard", "film/../film/b.jpg"):
        assert "a picture of the source" in refused(settings("film", output={"events": name}))
    check_outputs(settings("film", output={"events": "film/e.jsonl", "video": "film/new.mp4"}))


@pytest.mark.parametrize("config", [None, Path("my.yaml")])
def test_the_configuration_in_use(config: Path | None) -> None:
    Path(config or "config.yaml").touch()
    Path("link").symlink_to(config or "config.yaml")
    for name in (str(config or "config.yaml"), "link"):
        assert "the configuration" in refused(settings("demo", output={"summary": name}), config)


def test_a_file_of_a_model() -> None:
    Path("mine").mkdir()
    Path("mine/model.onnx").touch()
    for name, sections in (
        (str(models_dir() / "face_detector" / "manifest.json"), {}),
        ("mine/model.onnx", {"classifier": {"model": "mine"}}),
    ):
        assert "part of the model" in refused(settings("demo", output={"summary": name}, **sections))


@pytest.mark.parametrize("there", [False, True])
def test_one_file_for_two_outputs(there: bool) -> None:
    Path("sub").mkdir()
    if there:
        Path("x").touch()
    message = refused(settings("demo", output={"events": "x", "summary": "sub/../x"}))
    assert message == "--summary sub/../x: this file is also --events x: choose another name"
    assert "--output x.mp4" in refused(settings("demo", output={"video": "x.mp4", "events": "./x.mp4"}))
    Path("link.mp4").symlink_to("not-there-yet")
    assert "also" in refused(settings("demo", output={"events": "link.mp4", "summary": "not-there-yet"}))


@pytest.mark.parametrize("kind", ["events", "summary"])
def test_a_file_that_is_neither_events_nor_a_summary(kind: str) -> None:
    for number, content in enumerate((b"\0\0\0\x1cftypisom", b"\xff\xd8\xff", b"a: note\n", b" [1]")):
        path = Path(f"file{number}")
        path.write_bytes(content)
        message = refused(settings("demo", output={kind: path}))
        assert message == f"--{kind} {path}: this file holds something else than JSON: choose another name"
        assert path.read_bytes() == content
    for number, content in enumerate((b"", b'{"type": "ne', b'\n{"a": 1}', b"\0" * 5000)):
        Path(f"ours{number}").write_bytes(content)
        check_outputs(settings("demo", output={kind: f"ours{number}"}))
    check_outputs(settings("demo", output={"video": "file0"}))  # it is kept, and another name is taken


def test_a_dash_is_no_file() -> None:
    for kind in ("events", "summary"):
        message = refused(settings("demo", output={kind: "-"}))
        assert message == f"--{kind} -: this is no name for a file; standard output is /dev/stdout"


@pytest.mark.parametrize("address", ["rtmp://host/app/hunter2", "file:///tmp/v.mp4", "rtsp:/u:hunter2@host/x"])
def test_an_address_is_no_file(address: str) -> None:
    with pytest.raises(UsageError, match="this is an address") as caught:
        check({f"--output {Path(address)}": Path(address)}, Settings())
    assert str(caught.value).startswith("--output: ")
    assert "hunter2" not in str(caught.value)
    check({name: Path(name) for name in ("12:30.mp4", "cam:1/v.mp4", "C:/v.mp4")}, Settings())


def test_devices_and_pipes_may_take_two_outputs(tmp_path: Path) -> None:
    os.mkfifo("pipe")
    for name in ("/dev/null", "pipe", "/dev/stdout"):
        check_outputs(settings("demo", output={"events": name, "summary": name}))


def test_the_further_names_of_a_video_are_kept_for_it() -> None:
    assert "kept for --output v.mp4" in refused(settings("demo", output={"video": "v.mp4", "summary": "./v-2.mp4"}))
    check_outputs(settings("demo", output={"video": "v.mp4", "summary": "elsewhere/v-2.mp4", "events": "v-2.jsonl"}))


def test_every_camera_s_source_and_every_camera_s_video() -> None:
    for name in ("a.mp4", "b.mp4", "out-gate.mp4"):
        Path(name).touch()
    cameras = [{"camera": "door", "uri": "a.mp4"}, {"camera": "gate", "uri": "b.mp4"}]
    assert "the source" in refused(settings(sources=cameras, output={"summary": "b.mp4"}))
    assert "--output out-door.mp4" in refused(
        settings(sources=cameras, output={"video": "out.mp4", "events": "out-door.mp4"})
    )
    cameras[1]["uri"] = "out-gate.mp4"
    assert refused(settings(sources=cameras, output={"video": "out.mp4"})).startswith(
        "--output out-gate.mp4: this file is"
    )
    check_outputs(settings(sources=cameras, output={"video": "other.mp4", "events": "out.mp4"}))


def test_any_other_output_by_its_own_words() -> None:
    Path("c.mp4").touch()
    with pytest.raises(UsageError, match=r"--chart c\.mp4"):
        check({"--chart c.mp4": Path("c.mp4")}, settings())
    check({"--chart c.png": Path("c.png")}, settings())


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal", ".lock"])
@pytest.mark.parametrize("kind", ["events", "summary"])
def test_the_files_of_the_store(kind: str, end: str) -> None:
    assert "choose another name" in refused(settings(store={"path": "e.db"}, output={kind: f"e.db{end}"}))


def test_a_video_without_a_name_is_named_as_it_was_given() -> None:
    both = Settings.model_validate({"sources": [{"uri": "a.mp4", "camera": "a"}, {"uri": "b.mp4", "camera": "b"}]})
    video = both.model_copy(update={"output": both.output.model_copy(update={"video": Path("-")})})
    assert refused(video).startswith("--output -: this is no name for a file")

"""`sources`: several cameras from the layers of the configuration."""

from pathlib import Path

import pytest

from edge_app.commands.app import main
from edge_app.commands.sources import cameras_of
from edge_app.config.layers import Given, resolve
from edge_app.errors import UsageError
from edge_app.outputs.files import video_path
from tests.layers import error, resolved

TWO = """\
source: {max_fps: 5, rtsp_transport: udp}
sources:
  - {camera: door, uri: rtsp://user:secret@host/1, max_fps: 8}
  - uri: 1
    reconnect: false
"""


pytestmark = pytest.mark.usefixtures("empty_folder")


def test_items_take_what_they_leave_out_from_the_section() -> None:
    result = resolved(TWO, assignments=["source.read_timeout_s=3"], environment={"EDGE_APP__SOURCE__MAX_FPS": "6"})
    assert result.settings.sources is not None
    door, second = result.settings.sources
    assert (door.camera, door.uri, door.max_fps) == ("door", "rtsp://user:secret@host/1", 8)
    assert (second.camera, second.uri, second.max_fps) == ("camera2", "1", 6)
    assert (door.reconnect, second.reconnect) == (True, False)
    assert {(one.rtsp_transport, one.read_timeout_s) for one in (door, second)} == {("udp", 3)}
    assert result.origin["sources[0].max_fps"] == "config.yaml line 3"
    assert result.origin["sources[1].reconnect"] == "config.yaml line 5"


@pytest.mark.parametrize("text", ["", "sources:\n", "sources: null\n", "sources: []\n"])
def test_nothing_listed_is_the_one_source(text: str) -> None:
    assert resolved(text).settings.sources is None


@pytest.mark.parametrize("layer", ["environment", "assignments"])
def test_the_list_may_come_from_any_layer(layer: str) -> None:
    text = "[{uri: demo}, {camera: b, uri: b.mp4}]"
    given = {"EDGE_APP__SOURCES": text} if layer == "environment" else [f"sources={text}"]
    sources = resolved(TWO, **{layer: given}).settings.sources
    assert [(one.camera, one.uri) for one in sources or ()] == [("camera1", "demo"), ("b", "b.mp4")]


def test_a_source_named_for_this_run_is_watched_alone() -> None:
    result = resolved(TWO, flags={"source.uri": Given("clip.mp4", "SOURCE")})
    assert (result.settings.sources, result.settings.source.uri) == (None, "clip.mp4")
    assert resolved(TWO, assignments=["sources=null"]).settings.sources is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sources:\n  - uri: a\n  - uri: b\n    max_fps: x\n",
            "config.yaml line 4: sources[1].max_fps = x: expected a number above 0 up to 1000 or null",
        ),
        (
            "sources:\n  - {uri: a, max_fsp: 3}\n",
            "config.yaml line 2: unknown setting 'sources[0].max_fsp'; did you mean 'max_fps'?",
        ),
        ("sources:\n  - {uri: a, width: true}\n", "config.yaml line 2: sources[0].width = True: expected an integer"),
        ("sources:\n  - {uri: a}\n  - {camera: b}\n", "config.yaml line 3: sources[1].uri is missing"),
        (
            "sources:\n  - {uri: a, camera: d}\n  - uri: b\n    camera: d\n",
            "config.yaml line 4: sources[1].camera = d: expected a name of its own, sources[0] has it too",
        ),
        ("sources:\n  - {uri: a, camera: camera2}\n  - uri: b\n", "config.yaml line 3: sources[1].camera = camera2"),
        ("sources:\n  - uri: a\n    uri: b\n", "config.yaml line 3: sources[0].uri is set twice"),
        ("sources: [a.mp4]\n", "config.yaml line 1: sources[0]: expected the keys of a source"),
        ("sources: a.mp4\n", "config.yaml line 1: sources = …: expected a list of sources"),
        ("sources:\n  - {uri: a}\nsource: {max_fps: x}\n", "config.yaml line 3: source.max_fps = x: expected a number"),
    ],
)
def test_one_line_names_the_place_and_the_key(text: str, message: str) -> None:
    assert error(text).startswith(message)


def test_a_layer_without_lines_is_named() -> None:
    assert error(assignments=["sources=[{uri: a, fps: -1}]"]).startswith("--set: sources[0].fps = -1: expected")
    assert error(environment={"EDGE_APP__SOURCES": "[{"}).startswith("environment EDGE_APP__SOURCES: sources: not")


@pytest.mark.parametrize("format", ["table", "yaml", "json"])
def test_config_shows_them_without_credentials(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text(TWO, encoding="utf-8")
    assert main(["config", "--format", format]) == 0
    shown = capsys.readouterr().out
    assert "secret" not in shown
    assert "rtsp://***@host/1" in shown
    assert "config.yaml line 5" in shown
    if format == "yaml":
        again = resolved(shown).settings.sources
        before = resolved(TWO.replace("user:secret", "***")).settings.sources
        assert again == before


def test_what_several_cameras_cannot_do_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text(TWO, encoding="utf-8")
    for arguments in (["run", "--show"], ["run", "--camera", "x"], ["bench"]):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "several" in line


def test_each_camera_has_its_own_video() -> None:
    assert video_path(Path("a/out.mp4"), "door") == Path("a/out-door.mp4")
    assert video_path(Path("out.mp4"), "../x y") == Path("out-.._x_y.mp4")


def test_several_sources_are_cameras_named_after_their_files() -> None:
    given = ["a/film.mp4", "b/film.mp4", "b/Film.mkv", "fil m.mp4", "fil_m.mp4", "rtsp://user:secret@host/1", "demo"]
    assert [camera["uri"] for camera in cameras_of(given)] == given
    names = [camera["camera"] for camera in cameras_of(given)]
    assert names == ["film", "film-2", "Film-3", "fil m", "fil_m-2", "camera6", "demo"]
    videos = {str(video_path(Path("out.mp4"), name)).lower() for name in names}
    assert len(videos) == len(given)


def test_several_sources_come_before_those_of_the_file() -> None:
    result = resolved(TWO, flags={"sources": Given(cameras_of(["a.mp4", "b.mp4"]), "SOURCE")})
    assert [(one.camera, one.uri, one.max_fps) for one in result.settings.sources or ()] == [
        ("a", "a.mp4", 5),
        ("b", "b.mp4", 5),
    ]


def test_a_source_that_is_none_is_told_among_others() -> None:
    with pytest.raises(UsageError, match=r"gopher://\*\*\*: not a source"):
        cameras_of(["a.mp4", "gopher://x"])


def test_a_name_that_is_no_text_names_its_camera_all_the_same() -> None:
    assert [camera["camera"] for camera in cameras_of(["a.mp4", "caf\udce9.mp4"])] == ["a", "caf\\xe9"]


def test_files_that_are_taken_in_turn_may_be_many() -> None:
    files = cameras_of([f"{number}.mp4" for number in range(1000)])
    settings = resolve(flags={"sources": Given(files, "SOURCE")}, environment={}, board="x86_64").settings
    assert len(settings.sources or ()) == 1000

"""Every output that is listed can be opened; where the store lies."""

import pwd
from pathlib import Path
from pkgutil import resolve_name

import pytest

from edge_app.capture.source import SourceInfo
from edge_app.config.keys import keys
from edge_app.config.settings import OutputSettings, Settings, StoreSettings
from edge_app.errors import SinkError, UsageError
from edge_app.outputs.frame_outputs import FrameOutputs
from edge_app.outputs.output import EventOutput, FrameOutput
from edge_app.outputs.registry import EVENT_OUTPUTS, FRAME_OUTPUTS, wanted
from edge_app.store.place import state_dir, store_path
from tests.disk import mode
from tests.media import frame, result

INFO = SourceInfo("film", "file", False, 160, 120, 25.0, None)


@pytest.mark.parametrize(("key", "factory"), [*EVENT_OUTPUTS.items(), *FRAME_OUTPUTS.items()])
def test_every_line_names_a_setting_and_a_factory(key: str, factory: str) -> None:
    assert key in keys()
    assert callable(resolve_name(factory))


def test_an_output_is_opened_where_its_setting_is_given(tmp_path: Path) -> None:
    assert [*wanted(EVENT_OUTPUTS, Settings())] == [*wanted(FRAME_OUTPUTS, Settings())] == []
    settings = Settings(output=OutputSettings(events=tmp_path / "e.jsonl", video=tmp_path / "v.mp4", mode="0640"))
    ((_, open_events),) = wanted(EVENT_OUTPUTS, settings)
    ((_, open_video),) = wanted(FRAME_OUTPUTS, settings)
    events, video = open_events(settings), open_video(settings, INFO)
    assert isinstance(events, EventOutput)
    assert isinstance(video, FrameOutput)
    assert (events.name, video.name) == ("events", "video")
    assert mode(tmp_path / "e.jsonl") == 0o640
    events.close()
    video.close()


def test_frame_outputs_of_which_a_later_one_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UsageError, match="--show"):
        FrameOutputs(Settings(output=OutputSettings(show=True, video=tmp_path / "v.mp4")), INFO)
    assert list(tmp_path.iterdir()) == []


def test_one_of_several_cameras_goes_on_without_what_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(output=OutputSettings(video=tmp_path / "file" / "v.mp4"))
    with FrameOutputs(settings, INFO, needed=False) as outputs:
        outputs.write(result(frame()))
    assert (outputs.errors_by_output, outputs.paths) == ({"video": 1}, {})
    assert "cannot be written here" in outputs.failed[0]


def test_a_frame_output_that_fails_is_told_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "v.mp4"
    with FrameOutputs(Settings(output=OutputSettings(video=path)), INFO) as outputs:
        assert (outputs.paths, outputs.errors_by_output, outputs.closed_by_user) == ({}, {"video": 0}, False)
        path.parent.rmdir()
        outputs.write(result(frame()))
        outputs.refresh()
    assert (outputs.errors, outputs.paths) == (1, {})
    (reason,) = outputs.failed
    assert "cannot be written" in reason


class TestPlace:
    def test_the_setting_comes_first(self, tmp_path: Path) -> None:
        environment = {"STATE_DIRECTORY": "/var/lib/edge_app"}
        assert store_path(StoreSettings(path=tmp_path / "e.db"), environment) == tmp_path / "e.db"
        assert store_path(StoreSettings(), environment) == Path("/var/lib/edge_app/events.db")

    def test_the_state_directory_of_systemd(self) -> None:
        environment = {"STATE_DIRECTORY": "/var/lib/edge_app:/var/lib/more", "XDG_STATE_HOME": "/x"}
        assert state_dir(environment) == Path("/var/lib/edge_app")

    def test_that_of_the_xdg_specification(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert state_dir({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x/state"}) == Path("/x/state/edge_app")
        monkeypatch.setenv("HOME", "/home/someone")
        for ignored in ({"XDG_STATE_HOME": "state"}, {"XDG_STATE_HOME": ""}, {}):
            assert state_dir(ignored) == Path("/home/someone/.local/state/edge_app")

    def test_a_user_without_a_home_is_told_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container with any user id."""

        def nobody(_: int) -> None:
            raise KeyError

        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr(pwd, "getpwuid", nobody)
        with pytest.raises(SinkError, match=r"no home folder.*: set store\.path"):
            state_dir({})

import re
import socket
from pathlib import Path

import pytest

from edge_app.commands import doctor, opencv
from edge_app.config.layers import resolve
from edge_app.config.settings import Settings
from edge_app.errors import ModelError, UsageError

BUILD = """
  GUI:                           QT5
    QT:                          YES (ver 5.15.19 )
  Video I/O:
    FFMPEG:                      YES
      avcodec:                   YES (62.28.101)
    GStreamer:                   NO
"""


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "libgl1"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such file", "libglib2.0-0"),
        ("libxcb.so.1: cannot open shared object file: No such file", "libxcb1"),
        ("No module named 'cv2'", "pip install opencv-python"),
    ],
)
def test_a_failed_import_says_what_to_install(text: str, hint: str) -> None:
    assert re.search(rf"\b{re.escape(hint)}\b", str(opencv.explain_import_error(ImportError(text))))


def test_opencv_build_parts() -> None:
    found = {row.name: row.status for row in doctor.opencv_build(BUILD)}
    assert found == {"opencv GUI": "ok", "opencv GStreamer": "warning"}


def test_the_decoder_of_videos() -> None:
    row = doctor.pyav()
    assert (row.name, row.status) == ("av", "ok")
    assert "FFmpeg" in row.detail


def test_opencv_without_windows() -> None:
    gui = next(doctor.opencv_build(BUILD.replace("QT5", "NONE")))
    assert gui.status == "warning"
    assert "--show" in gui.advice


def test_cameras_are_listed_in_order_with_their_names(tmp_path: Path) -> None:
    for number in (10, 2):
        (tmp_path / f"video{number}").touch()
    (tmp_path / "names" / "video2").mkdir(parents=True)
    (tmp_path / "names" / "video2" / "name").write_text("HD Webcam\n", encoding="utf-8")
    rows = list(doctor.cameras(tmp_path, tmp_path / "names"))
    assert [row.detail for row in rows] == [f"{tmp_path}/video2: HD Webcam", f"{tmp_path}/video10: unnamed"]
    assert {row.status for row in rows} == {"ok"}


def test_a_camera_that_may_not_be_opened_says_which_group(tmp_path: Path) -> None:
    (tmp_path / "video0").symlink_to("nothing")  # root, too, is refused this one
    (row,) = doctor.cameras(tmp_path, tmp_path)
    assert row.status == "warning"
    assert "usermod -aG video" in row.advice


def test_no_camera_is_a_warning(tmp_path: Path) -> None:
    (row,) = doctor.cameras(tmp_path, tmp_path)
    assert row.status == "warning"


def test_each_of_several_cameras_is_looked_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        there, gone = (one.getsockname()[1] for one in (server, other))
        other.close()
        uris = (
            f"rtsp://u:secret@127.0.0.1:{there}/x",
            f"rtsp://u:secret@127.0.0.1:{gone}/x",
            "demo",
            tmp_path / "a.mp4",
            "u:hunter2",
        )
        listed = [{"camera": f"c{n}", "uri": str(uri)} for n, uri in enumerate(uris)]
        rows = list(doctor.sources(Settings.model_validate({"sources": listed})))
    assert [row.name for row in rows] == ["source c0", "source c1", "source c2", "source c3", "source c4"]
    assert [row.exit_code for row in rows] == [0, 4, 0, 4, 4]
    assert all((row.status == "ok") == (not row.advice) for row in rows)
    assert "secret" not in str(rows)
    assert "hunter2" not in str(rows)
    assert list(doctor.sources(Settings())) == []


@pytest.mark.parametrize(
    ("environment", "system", "status"),
    [
        ({"DISPLAY": ":0"}, "linux", "ok"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", "ok"),
        ({"DISPLAY": ""}, "linux", "warning"),
        ({}, "linux", "warning"),
        ({}, "darwin", "ok"),
    ],
)
def test_display(environment: dict[str, str], system: str, status: str) -> None:
    assert doctor.display(environment, system).status == status


def test_missing_models_are_errors_with_the_model_exit_code(tmp_path: Path) -> None:
    folders = [f"{section}.model={tmp_path}" for section in ("detector", "classifier")]
    rows = doctor.examine(resolve(assignments=folders, environment={}, board="x86_64"), {})
    broken = [row for row in rows if row.name.startswith("model ")]
    assert [row.status for row in broken] == ["error", "error"]
    assert all(row.advice for row in broken)
    assert doctor.exit_code(rows) == ModelError.exit_code


def test_unavailable_provider_is_an_error() -> None:
    settings = resolve(assignments=["classifier.provider=NoSuchProvider"], environment={}, board="x86_64")
    row = next(row for row in doctor.examine(settings, {}) if row.name == "onnxruntime")
    assert row.status == "error"
    assert "NoSuchProvider" in row.advice


def test_a_bad_configuration_does_not_stop_the_other_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "board_text", lambda: "Raspberry Pi 5 Model B Rev 1.0")
    rows = doctor.examine(UsageError("config.yaml line 1: unknown setting 'x'"), {})
    assert {"configuration", "opencv", "display"} <= {row.name for row in rows}
    (board,) = (row for row in rows if row.name == "board")
    assert board.status == "ok"
    assert board.detail.endswith("profile pi5")
    assert doctor.exit_code(rows) == UsageError.exit_code


def test_every_row_that_is_not_ok_says_what_to_do() -> None:
    for row in doctor.examine(resolve(environment={}, board="unknown board"), {}):
        assert (row.status == "ok") == (not row.advice), row

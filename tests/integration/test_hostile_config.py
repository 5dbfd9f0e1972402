"""Configuration that is wrong in ways nobody means: one line, at once, and nothing secret in it."""

import os
import re
import socket
import time
from pathlib import Path

import pytest
import yaml

from edge_app.config.environment import name_of
from edge_app.config.keys import values
from edge_app.config.settings import Settings
from edge_app.config.view import shown
from edge_app.redact import redact
from tests.layers import error, resolved

pytestmark = pytest.mark.usefixtures("empty_folder")


class TestHostileFiles:
    @pytest.mark.parametrize(
        "value",
        [
            "!!bool foo", "!!int ''", "!!float x", "!!timestamp x", "!!binary '='", "!!python/name:os.system", "!x y",
            "!!set {a}", "2020-01-01", "2020-01-01 10:00:00", "9" * 5000, "0x" + "f" * 5000, "0b_", ".nan", "-.inf",
            "1e999", '"\\ud800"', "&a [*a]", "*a", "{<<: {a: b}}", "? [a]", "[[1]]", "{a: {b: c}}",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("key", ["threads", "score_threshold", "stage"])
    def test_a_value_of_another_kind_names_file_and_line(self, value: str, key: str) -> None:
        message = error(f"# a comment\ndetector:\n  {key}: {value}\n")
        assert message.startswith("config.yaml line 3: ")
        assert len(message) < 400

    @pytest.mark.parametrize("value", ["!!bool foo", "2020-01-01", '"a\\0b"', '"\\ud800"', "[a]", "&a [*a]"])
    @pytest.mark.parametrize("key", ["output: {video", "source: {uri", "source: {camera", "detector: {model"])
    def test_no_name_of_a_file_or_camera(self, key: str, value: str) -> None:
        if value == '"a\\0b"' and "camera" in key:
            value = '"\\ud801"'
        assert error(f"\n{key}: {value}}}\n").startswith("config.yaml line 2: ")

    @pytest.mark.parametrize("layer", ["--set", "environment"])
    @pytest.mark.parametrize("value", ["9" * 5000, "-" + "9" * 5000, "1e999", "nan", "inf", "a\0b", "\ud800", ""])
    @pytest.mark.parametrize("key", ["detector.threads", "detector.iou_threshold", "source.rtsp_transport"])
    def test_text_layers_too(self, layer: str, key: str, value: str) -> None:
        name = name_of(key)
        given = {"assignments": [f"{key}={value}"]} if layer == "--set" else {"environment": {name: value}}
        message = error(**given)
        assert message.startswith(f"--set: {key} = " if layer == "--set" else f"environment {name}: {key} = ")
        assert len(message) < 300

    @pytest.mark.parametrize(
        "text",
        [
            "a: &a [x, x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n"
                                         for n in range(20)),
            "? &a [x, x]\n: 1\n? [*a, *a]\n: 2\n",
            "a: &a {x: 1}\nb: {<<: [*a, *a, *a]}\n",
            "[" * 200_000,
            "{a: " * 50_000,
            "- " * 100_000,
            "- 0\n" * 60_000,
            "a" * 300_000,
            "sources: [" + "{uri: demo}, " * 15_000 + "]",
        ],
        ids=["aliases", "alias keys", "merges", "brackets", "braces", "dashes", "items", "bytes", "cameras"],
    )  # fmt: skip
    @pytest.mark.parametrize("layer", ["file", "environment", "--set"])
    def test_bombs_are_refused_before_they_are_built(self, layer: str, text: str) -> None:
        before = time.process_time()
        if layer == "file":
            message = error(text)
        else:
            environment, assignments = {"EDGE_APP__SOURCES": text}, [f"sources={text}"]
            message = error(
                **({"environment": environment} if layer == "environment" else {"assignments": assignments})
            )
        assert re.search(r"aliases|not valid YAML|more than|larger than", message)
        assert time.process_time() - before < 20

    def test_cameras_are_bounded_in_number(self) -> None:
        most = "sources:\n" + "  - {uri: demo}\n" * 256
        assert len(resolved(most).settings.sources or ()) == 256
        assert error(most + "  - {uri: demo}\n") == (
            "config.yaml line 1: sources: 257 cameras, and one run takes 256 at most"
        )

    def test_every_camera_may_set_every_key(self) -> None:
        item = {key.removeprefix("source."): value for key, value in values(Settings()).items() if "source." in key}
        text = yaml.safe_dump({"sources": [{**item, "camera": f"c{n}", "uri": f"rtsp://h/{n}"} for n in range(256)]})
        assert len(resolved(text).settings.sources or ()) == 256

    @pytest.mark.parametrize("path", ["pipe", "/dev/zero", "/dev/null", ".", "socket", "big.yaml", "/proc/self/mem"])
    def test_what_is_no_configuration_file_is_refused_at_once(self, path: str) -> None:
        os.mkfifo("pipe")
        with socket.socket(socket.AF_UNIX) as listener, Path("big.yaml").open("wb") as big:
            listener.bind("socket")
            big.truncate(2**40)
            message = error(config=Path(path))
        assert message.startswith(f"{path}: ")
        assert re.search("cannot be read|larger than", message)

    @pytest.mark.parametrize("kind", ["pipe", "folder", "dangling link"])
    def test_a_config_yaml_that_is_no_file_is_not_passed_over(self, kind: str) -> None:
        path = Path("config.yaml")
        {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "dangling link": lambda: path.symlink_to("x")}[kind]()
        assert error().startswith("config.yaml: ")

    def test_a_config_in_the_home_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "c.yaml").write_text("max_frames: 3", encoding="utf-8")
        assert resolved(config=Path("~/c.yaml")).settings.max_frames == 3
        assert "no such" in error(config=Path("~nosuchuser/c.yaml"))
        assert "NUL" in error(config=Path("a\0b"))


class TestNothingSecretIsShown:
    @pytest.mark.parametrize(
        "text",
        [
            "source:\n  uri: [rtsp://u:Secr3tive@h]\n",
            "source:\n  uri: {rtsp: Secr3tive}\n",
            "source:\n  uri: *Secr3tive\n",
            "source:\n  uri: !Secr3tive x\n",
            "source:\n  uri: 'rtsp://u:Secr3tive@h\n",
            'source:\n  uri: "rtsp://u:\\Secr3tive@h"\n',
            "source:\n  uri: @Secr3tive\n",
            "source:\n  uri: &Secr3tive &b x\n",
            "source:\n  rtsp://u:Secr3tive@h: 1\n",
            "rtsp://u:Secr3tive@h\n",
            "source:\n  rtsp://u:Secr3tive@h: 1\n  rtsp://u:Secr3tive@h: 1\n",
            "source:\n  max_fps: rtsp://u:Secr3tive@h\n",
            "source:\n  camera: rtsp://u:Secr3tive@h\n",
            "source: rtsp://u:Secr3tive@h\n",
            "sources:\n  - rtsp://u:Secr3tive@h\n",
            "sources:\n  - {uri: [Secr3tive]}\n",
            "sources:\n  - {'rtsp://u:Secr3tive@h': 1}\n",
            "sources:\n  - {uri: a, camera: 'u:Secr3tive@h'}\n",
            "sources: rtsp://u:Secr3tive@h\n",
            "sources:\n  - {uri: rtsp://u:Secr3tive@h, max_fps: Secr3tive}\n",
        ],
    )
    def test_in_a_file(self, text: str) -> None:
        assert "Secr3tive" not in error(text)

    @pytest.mark.parametrize(
        "assignment",
        [
            "rtsp://u:Secr3tive@h",
            "rtsp://u:Secr3tive@h/?a=b",
            "source.uri rtsp://u:Secr3tive@h/",
            "source.url=rtsp://u:Secr3tive@h",
            "source.uri=rtsp://u:p@Secr3tive/w@h",
            "source.max_fps=rtsp://u:Secr3tive@h",
            "sources=rtsp://u:Secr3tive@h",
            "sources=[{uri: 'rtsp://u:Secr3tive@h}]",
            "sources=[{uri: *Secr3tive}]",
            "sources=[{url: rtsp://u:Secr3tive@h}]",
        ],
    )
    def test_in_an_assignment(self, assignment: str) -> None:
        assert "Secr3tive" not in error(assignments=[assignment])

    def test_camera_names_stay_though_a_query_holds_them(self) -> None:
        result = resolved("source: {uri: 'http://h/x?camera=front_door', camera: front_door}")
        assert redact("front_door: no frame") == "front_door: no frame"
        assert shown(result)["source.camera"] == "front_door"

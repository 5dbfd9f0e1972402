"""The command line in this process: usage, settings, and how every failure ends."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from edge_app.commands.app import app, main
from edge_app.errors import EdgeAppError, ModelError, SinkError, SourceError, WatchdogError
from edge_app.runtime.shutdown import guarded, stop_on_signal
from edge_app.text import printable


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("EDGE_APP_")]:
        monkeypatch.delenv(name)


class TestUsage:
    @pytest.mark.parametrize("command", [[], ["run"], ["image"], ["bench"], ["doctor"], ["config"]])
    def test_help(self, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*command, "--help"]) == 0
        assert "Usage: edge-app" in capsys.readouterr().out

    def test_help_shows_defaults_and_every_common_flag(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["run", "--help"])
        text = capsys.readouterr().out
        flags = "--config --profile --headless --show --output --events --summary --max-frames --set --camera"
        assert all(flag in text for flag in flags.split())
        assert "[default: " in text

    def test_whether_a_file_can_be_read_is_told_by_who_opens_it(self) -> None:
        """Else one unreadable picture would keep others from being judged, and outputs would have to be readable."""
        commands: Any = typer.main.get_group(app).commands.values()
        given = [parameter.type_descriptor for command in commands for parameter in command.params]
        paths = [each.parameter_info for each in given if "Path" in str(each.annotation)]
        assert len(paths) >= 7
        assert not any(each.readable or each.writable for each in paths)

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.startswith("edge-app ")

    @pytest.mark.parametrize(
        ("command", "words"),
        [
            (["confg"], "'config'"),
            (["run", "--max-frames", "many"], "'--max-frames': expected a valid integer"),
            (["run", "--max-frames", "0"], "at least 1"),
            (["run", "--nosuch"], "--nosuch"),
            (["run", "a.mp4", "ftp://b"], "ftp://***"),
            (["bench", "a", "b"], "b"),
            (["run", "--set", "detector.input_sise=1"], "'detector.input_size'"),
            (["run", "--profile", "pi9"], "pi4"),
            (["run", "--config", "none.yaml"], "none.yaml"),
            (["image"], "PATH"),
            (["image", "a.png", "--format", "xml"], "jsonl"),
            (["bench", "demo", "--frames", "0"], "at least 1"),
        ],
    )
    def test_mistakes_end_in_one_line_and_code_2(
        self, command: list[str], words: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(command) == 2
        output = capsys.readouterr()
        assert output.out == ""
        (line,) = output.err.splitlines()
        assert line.startswith("error: ")
        assert words in line

    def test_without_a_command_the_help_and_code_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        assert "Commands:" in capsys.readouterr().out


class TestConfig:
    def test_table_names_the_layer_of_each_value(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("config.yaml").write_text("source:\n  camera: door\n", encoding="utf-8")
        assert main(["config", "--profile", "pi4"]) == 0
        rows = [[cell.strip() for cell in line.split("│")] for line in capsys.readouterr().out.splitlines()]
        assert ["", "source.camera", "door", "config.yaml line 2", ""] in rows
        assert ["", "detector.input_size", "256", "profile pi4", ""] in rows

    def test_credentials_are_masked(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.setenv("EDGE_APP__SOURCE__URI", "rtsp://admin:s3cret@10.0.0.5/1")
        for form in ("table", "yaml", "json"):
            assert main(["config", "--format", form]) == 0
            text = capsys.readouterr().out
            assert "s3cret" not in text
            assert "rtsp://***@10.0.0.5/1" in text

    def test_yaml_can_be_used_as_config_file(self, capsys: pytest.CaptureFixture[str]) -> None:
        command = ["config", "--set", "verdict.window_s=2.5", "--set", "source.camera=a: b # c", "--profile", "pi5"]
        main([*command, "--format", "yaml"])
        text = capsys.readouterr().out
        Path("config.yaml").write_text(text, encoding="utf-8")
        assert yaml.safe_load(text)["source"]["camera"] == "a: b # c"
        assert main(["config", "--format", "json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["verdict.window_s"]["value"] == 2.5
        assert found["detector.threads"]["value"] == 2


class TestEndings:
    @pytest.mark.parametrize("kind", [EdgeAppError, ModelError, SourceError, SinkError, WatchdogError])
    def test_each_error_has_its_code_and_one_line(
        self, kind: type[EdgeAppError], capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail() -> None:
            raise kind("rtsp://u:p@h/1:\nno answer")

        assert guarded(fail) == kind.exit_code
        assert capsys.readouterr().err == "error: rtsp://***@h/1: no answer\n"

    def test_a_fault_of_our_own_asks_for_a_report(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert guarded(lambda: 1 / 0) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "ZeroDivisionError" in line
        assert "report" in line

    def test_debug_shows_the_traceback(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("EDGE_APP_DEBUG", "1")
        assert guarded(lambda: 1 / 0) == 1
        assert "Traceback" in capsys.readouterr().err

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_stops_and_handlers_are_given_back(self, number: signal.Signals) -> None:
        before = signal.getsignal(number)
        with stop_on_signal() as (stop, received):
            os.kill(os.getpid(), number)
            assert stop.wait(2)
            assert received == [number]
        assert signal.getsignal(number) is before

    @pytest.mark.parametrize("text", ["a\x1b[2J\x07b", "caf\udce9.mp4", "\u202egpj.exe"])
    def test_what_a_terminal_would_obey_is_shown_as_an_escape(
        self, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail() -> None:
            raise SourceError(f"{text}: no such file")

        assert guarded(fail) == 4
        (error,) = capsys.readouterr().err.splitlines()
        assert error == f"error: {printable(text)}: no such file"
        assert error.isprintable()

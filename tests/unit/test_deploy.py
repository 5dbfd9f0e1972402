"""The systemd unit: what it starts exists, what it sets is known, and systemd takes it."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_app.commands.app import main
from edge_app.config.keys import keys

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "edge-app.service"
PROGRAM = "/opt/edge_app/.venv/bin/edge-app"


def entries() -> dict[str, dict[str, list[str]]]:
    """Section -> key -> its values."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            section.setdefault(key, []).append(value)
    return found


def test_it_starts_a_command_with_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = entries()["Service"]["ExecStart"]
    program, command, *arguments = shlex.split(line)
    assert (program, command) == (PROGRAM, "run")
    main(["run", "--help"])
    known = capsys.readouterr().out
    options = [argument for argument in arguments if argument.startswith("-")]
    assert "--headless" in options
    assert all(f"{option} " in known or f"{option}\n" in known for option in options)


def test_its_settings_are_known_and_its_files_are_in_places_it_may_write() -> None:
    service = entries()["Service"]
    for assignment in service["Environment"]:
        name = assignment.partition("=")[0]
        assert name.removeprefix("EDGE_APP__").lower().replace("__", ".") in keys()
    arguments = shlex.split(service["ExecStart"][0])
    for option in ("--events", "--summary"):
        assert Path(arguments[arguments.index(option) + 1]).parent == Path("/var/lib") / service["StateDirectory"][0]
    assert int(service["WatchdogSec"][0]) > 20


def test_it_runs_as_nobody_special_and_is_locked_in() -> None:
    service = entries()["Service"]
    assert service["User"] == ["edge-app"]
    assert service["UMask"] == ["0077"]
    for key, value in (
        ("NoNewPrivileges", "true"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "true"),
        ("PrivateTmp", "true"),
        ("CapabilityBoundingSet", ""),
        ("MemoryDenyWriteExecute", "true"),
    ):
        assert service[key] == [value]


def test_systemd_takes_it(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")  # in CI too: a container has none
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true"), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")

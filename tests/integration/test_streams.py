"""Closed, full and forgotten standard streams: they may cost what would have been read there, never a recording."""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.command import COMMAND, environment
from tests.conftest import need

RUN = "run demo --max-frames 100 --events e.jsonl --summary s.json"


@pytest.fixture(autouse=True)
def _full() -> None:
    need(Path("/dev/full").exists(), "there is no /dev/full on this system")


def shell(folder: Path, arguments: str, redirections: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `edge-app ARGUMENTS REDIRECTIONS` in bash."""
    command = " ".join(COMMAND)
    result = subprocess.run(
        ["bash", "-c", f"{command} {arguments} {redirections}; exit ${{PIPESTATUS[0]}}"],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout, result.stderr


def assert_recorded(folder: Path) -> None:
    """Whole lines of events and nothing else, every story with its end, and the summary."""
    facts = json.loads((folder / "s.json").read_text(encoding="utf-8"))
    events = [json.loads(line) for line in (folder / "e.jsonl").read_text(encoding="utf-8").splitlines()]
    assert facts["frames"] == 100
    assert len(events) == facts["events"] > 0
    assert {event["id"] for event in events} == {event["id"] for event in events if event["type"] == "end"}


def totals(faces: int) -> str:
    """Of pictures with one bare face each."""
    return f"pictures: {faces}, faces: {faces} (0 mask, {faces} no_mask, 0 unsure)"


@pytest.mark.slow
@pytest.mark.usefixtures("models", "astronaut")
class TestRun:
    @pytest.mark.parametrize(
        ("redirections", "code"),
        [
            ("0<&-", 0),
            ("1>&-", 0),
            ("2>&-", 0),
            ("0<&- 1>&- 2>&-", 0),
            ("2>/dev/full", 0),
            ("2>&1 | head -1", 0),
            ("| true", 0),
            (">/dev/full", 5),
            (">/dev/full 2>&1", 5),
        ],
    )
    def test_everything_is_recorded(self, tmp_path: Path, redirections: str, code: int) -> None:
        found, _, err = shell(tmp_path, RUN, redirections)
        assert found == code, err
        assert_recorded(tmp_path)
        errors = [line for line in err.splitlines() if not line.startswith("demo: frame ")]
        written = code == 5 and "2>&1" not in redirections
        assert errors == ["error: standard output cannot be written (No space left on device)"] * written

    @pytest.mark.parametrize(
        ("streams", "code"), [(("stderr",), 0), (("stdout",), 5), (("stdout", "stderr"), 5)], ids=["err", "out", "both"]
    )
    def test_a_full_pipe_that_nobody_reads(
        self, tmp_path: Path, full_pipe: int, streams: tuple[str, ...], code: int
    ) -> None:
        others: dict[str, int] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        command = subprocess.run(
            [*COMMAND, *RUN.split()],
            cwd=tmp_path,
            env=environment(),
            timeout=120,
            **{**others, **dict.fromkeys(streams, full_pipe)},
        )
        assert command.returncode == code
        assert_recorded(tmp_path)

    def test_events_for_a_closed_standard_output_are_an_error(self, tmp_path: Path) -> None:
        code, _, err = shell(tmp_path, "run demo --max-frames 60 --events /dev/stdout", ">&-")
        assert code == 5
        assert "error: /dev/stdout: events cannot be written" in err

    def test_an_incomplete_output_is_told_though_nobody_reads_the_summary(self, tmp_path: Path) -> None:
        code, _, err = shell(tmp_path, "run demo --max-frames 60 --events /dev/full", "| true")
        assert code == 5
        assert "error: /dev/full: events cannot be written" in err


@pytest.mark.usefixtures("models", "astronaut")
@pytest.mark.parametrize("source", ["demo", "demo demo"])
def test_the_totals_are_told_though_their_file_cannot_be_written(tmp_path: Path, source: str) -> None:
    code, out, err = shell(tmp_path, f"run {source} --max-frames 40 --events e.jsonl --summary /dev/full", "")
    assert code == 5
    assert out.startswith("done\n")
    assert "persons" in out
    error = "error: /dev/full: the summary cannot be written (No space left on device): this output is not complete"
    assert err.splitlines()[-1].startswith(error)
    assert (tmp_path / "e.jsonl").stat().st_size > 0


@pytest.fixture
def full_pipe() -> Iterator[int]:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
    yield writer
    os.close(reader)
    os.close(writer)


class TestResults:
    @pytest.mark.parametrize(
        "arguments", ["config", "config --format json", "config --format yaml", "--help", "--version"]
    )
    @pytest.mark.parametrize(
        ("redirection", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
    )
    def test_a_result_that_cannot_be_told_is_an_error(
        self, tmp_path: Path, arguments: str, redirection: str, reason: str
    ) -> None:
        code, _, err = shell(tmp_path, arguments, redirection)
        assert (code, err) == (5, f"error: standard output cannot be written ({reason})\n")

    def test_an_error_that_nobody_can_read_keeps_its_code(self, tmp_path: Path) -> None:
        for redirection in ("2>/dev/full", "2>&-"):
            assert shell(tmp_path, "image missing.png", redirection) == (
                4,
                f"{totals(0)}; could not be judged: 1\n",
                "",
            )
            assert shell(tmp_path, "run --nonsense", redirection) == (2, "", "")

    @pytest.mark.usefixtures("models")
    def test_copies_are_written_though_the_reader_of_the_lines_has_gone(
        self, tmp_path: Path, astronaut: npt.NDArray[np.uint8]
    ) -> None:
        for number in range(5):
            cv2.imwrite(str(tmp_path / f"{number}.png"), astronaut)
        code, _, err = shell(tmp_path, "image [0-9].png --format jsonl --output-dir out", "| true")
        assert (code, err) == (0, f"{totals(5)}\n")
        assert len(list((tmp_path / "out").iterdir())) == 5


NAMES = (b"caf\xe9", b"\x1b]0;x\x07", b"~x", b"two\nlines", b"a  b", b"-x", b"100%d", b"[0-9]")


def run(folder: Path, *arguments: bytes | str) -> tuple[int, list[str], list[str]]:
    """Exit code and the lines of both streams, none of which may hold what a terminal obeys."""
    result = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(COLUMNS="200"), capture_output=True, timeout=120
    )
    out, err = (text.decode("utf-8").splitlines() for text in (result.stdout, result.stderr))
    assert all(line.isprintable() for line in out + err), result
    return result.returncode, out, err


class TestNames:
    @pytest.mark.usefixtures("models")
    def test_pictures_of_any_name(self, tmp_path: Path, astronaut: npt.NDArray[np.uint8]) -> None:
        paths = [b"./" + name + b".png" for name in NAMES]
        for path in paths:
            (tmp_path / os.fsdecode(path)).write_bytes(cv2.imencode(".png", astronaut)[1].tobytes())
        folder = b"out \xe9\x1b"
        code, out, err = run(tmp_path, "image", *paths, "--format", "jsonl", "--output-dir", folder)
        assert (code, err) == (0, [totals(len(paths))])
        assert [os.fsencode(json.loads(line)["path"]) for line in out] == [path[2:] for path in paths]
        assert set(os.listdir(os.fsencode(tmp_path / os.fsdecode(folder)))) == {path[2:] for path in paths}  # noqa: PTH208
        code, out, err = run(tmp_path, "image", *paths)
        assert (code, err, out[-1]) == (0, [], totals(len(paths)))
        assert sum("no_mask" in line for line in out[:-1]) == len(paths)

    def test_missing_pictures_are_named_a_line_each(self, tmp_path: Path) -> None:
        code, _, err = run(tmp_path, "image", *(b"./" + name + b".png" for name in NAMES))
        assert code == 4
        assert len(err) == len(NAMES)
        assert err[0] == r"error: caf\xe9.png: no such file"

    @pytest.mark.parametrize("name", NAMES[:3])
    def test_a_missing_configuration_and_a_wrong_value(self, tmp_path: Path, name: bytes) -> None:
        for arguments in (("run", "demo", "--config", name), ("config", "--profile", name), ("run", b"--" + name)):
            code, _, err = run(tmp_path, *arguments)
            assert (code, len(err)) == (2, 1)
            assert err[0].startswith("error: ")

    @pytest.mark.usefixtures("models", "astronaut")
    @pytest.mark.parametrize("names", [NAMES[:3], NAMES[3:6]])
    def test_outputs_of_any_name(self, tmp_path: Path, names: tuple[bytes, bytes, bytes]) -> None:
        video, events, summary = (
            b"./" + name + end for name, end in zip(names, (b".mp4", b".jsonl", b".json"), strict=True)
        )
        code, _, err = run(
            tmp_path, "run", "demo", "--max-frames", "5", "--output", video, "--events", events, "--summary", summary
        )
        assert code == 0, err
        made = set(os.listdir(os.fsencode(tmp_path)))  # noqa: PTH208
        assert made == {video[2:], events[2:], summary[2:]}
        facts = json.loads((tmp_path / os.fsdecode(summary)).read_bytes().decode("utf-8"))
        assert os.fsencode(facts["cameras"][0]["outputs"]["video"]) == video[2:]

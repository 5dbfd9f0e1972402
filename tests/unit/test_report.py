import io
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from edge_app.commands import console as report


@dataclass
class State:
    frames: int = 30
    total: int | None = 60
    fps: float = 29.97
    persons: int = 1
    verdicts: dict[str, int] = field(default_factory=lambda: {"mask": 1})
    present: dict[str, int] = field(default_factory=dict)
    frame_age_ms: float = 41.6
    dropped_frames: int = 3


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "source": "clip.mp4",
        "frames": 60,
        "seconds": 2.0,
        "fps": 30.0,
        "persons": 2,
        "verdicts": {"mask": 1, "no_mask": 1, "unsure": 0},
        "failed": [],
        "label_changes": {"mask": 2, "no_mask": 1, "unsure": 0},
        "events": 4,
        "dropped_frames": 0,
        "reconnects": 0,
        "sink_errors": 0,
        "timings": {},
        "outputs": {"events": None, "summary": None},
        "cameras": [
            {"camera": "door", "frames": 60, "fps": 30.0, "persons": 2, "events": 4, "outputs": {"video": "out.mp4"}}
        ],
        "interrupted": False,
        **changes,
    }


def test_status_of_a_file_leaves_latency_out() -> None:
    assert report.status(State()) == "30.0 fps  now nobody  so far 1 person: 1 mask"


def test_status_of_a_live_source_shows_latency() -> None:
    assert report.status(State(total=None, persons=2, present={"unsure": 1, "mask": 2})).endswith(
        "now 2 mask, 1 unsure  so far 2 persons: 1 mask  age 42 ms  3 dropped"
    )


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with report.progress("clip.mp4") as view:
        for _ in range(100):
            view(State())
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "clip.mp4: frame 30/60  30.0 fps  now nobody  so far 1 person: 1 mask\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [None, 60])
@pytest.mark.parametrize(
    ("columns", "name"), [(70, ""), (100, "recordings/"), (160, "recordings/entrance/2026-11/clip.mp4 ")]
)
def test_on_a_terminal_the_numbers_are_whole_and_the_name_has_what_is_left(
    monkeypatch: pytest.MonkeyPatch, columns: int, name: str, total: int | None
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    state = State(total=total)
    with report.progress("recordings/entrance/2026-11/clip.mp4") as view:
        view(state)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    for shown in (line for line in re.split(r"[\r\n]+", text) if line.strip()):
        assert shown.startswith(name)
        assert len(shown) <= columns
        numbers = f"frame 30{'/60' if total else ''}  {report.status(state)}"
        assert numbers[: columns - 3] in shown  # a spinner and its spaces


def test_summary_says_what_matters_and_where_files_are(capsys: pytest.CaptureFixture[str]) -> None:
    report.summary(facts())
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["done"]
    assert ["frames", "60 in 2.0 s, 30.0 fps"] in lines
    assert ["verdicts", "1 mask, 1 no_mask, 0 unsure"] in lines
    assert ["video", "file out.mp4"] in lines
    assert not any(words[0] in ("dropped", "reconnects", "sink") for words in lines)


def test_summary_of_several_cameras_counts_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    camera = {"camera": "door", "frames": 1, "fps": 25.0, "persons": 1, "events": 1, "outputs": {"video": "v-door.mp4"}}
    report.summary(facts(cameras=[camera, {**camera, "frames": 2, "persons": 0, "events": 2, "outputs": {}}]))
    text = capsys.readouterr().out
    assert "  door       1 frame, 25.0 fps, 1 person, 1 event\n  video file v-door.mp4\n" in text
    assert "2 frames, 25.0 fps, 0 persons, 2 events\n" in text


def test_summary_of_an_interrupted_run_with_losses(capsys: pytest.CaptureFixture[str]) -> None:
    report.summary(facts(interrupted=True, dropped_frames=7))
    text = capsys.readouterr().out
    assert text.startswith("interrupted\n")
    assert "dropped frames 7\n" in text


def test_summary_of_a_run_that_lost_a_camera(capsys: pytest.CaptureFixture[str]) -> None:
    camera = {"camera": "door", "frames": 1, "fps": 25.0, "persons": 1, "events": 1, "outputs": {}}
    report.summary(facts(cameras=[camera], failed=["gate: connection refused"]))
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == "done, but not all of it"
    assert [row.split(maxsplit=1) for row in rows][-2:] == [
        ["door", "1 frame, 25.0 fps, 1 person, 1 event"],
        ["failed", "gate: connection refused"],
    ]


def test_tables_take_any_text(capsys: pytest.CaptureFixture[str]) -> None:
    report.table(("picture", "label"), [("[bold]x[/bold] :smile: ü", "mask")])
    assert "[bold]x[/bold] :smile: ü" in capsys.readouterr().out


LONG = (
    ("check", "status", "found", "what to do"),
    [
        ("packages", "ok", "opencv-python 5.0.0.93, onnxruntime 1.32.0, prometheus-client 0.26.0", ""),
        ("model mask_classifier", "warning", "version 4 in /opt/edge_app/models/mask_classifier", "promote it"),
    ],
)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize(
    ("columns", "rows"),
    [LONG, (("setting", "value", "from"), [("verdict.no_mask_threshold", "0.25", "config.yaml line 3")])],
)
def test_tables_fit_and_keep_their_words_whole(
    columns: tuple[str, ...],
    rows: list[tuple[str, ...]],
    width: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    report.table(columns, rows)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    for word in " ".join(cell for row in (columns, *rows) for cell in row).split():
        assert len(word) > width - 12 or word in text, text


@pytest.mark.parametrize("columns", ["", "0", "wide"])
def test_a_pipe_gets_wide_tables(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    report.table(("a", "b"), [("x" * 90, "y" * 90)])
    assert "x" * 90 in capsys.readouterr().out


def test_nothing_printed_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b[2Jcaf\udce9.mp4"
    report.summary(facts(source=name))
    report.table(("picture",), [(name,)])
    with report.progress(name) as view:
        view(State())
    output = capsys.readouterr()
    assert (output.out + output.err).count(r"\x1b[2Jcaf\xe9.mp4") == 3
    assert "\x1b" not in output.out + output.err

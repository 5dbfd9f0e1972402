"""The command line as a user has it: a process, its two streams and its exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.command import COMMAND, ROOT, environment
from tests.media import grey, write_clip
from tests.shared_objects import broken_opencv

Image = npt.NDArray[np.uint8]


@pytest.fixture
def edge_app(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `edge-app ARGUMENTS` in an empty folder."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(**variables),
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def one_error(result: subprocess.CompletedProcess[str], code: int) -> str:
    """The only line on stderr, once the exit code has been checked."""
    assert result.returncode == code, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


Run = Callable[..., subprocess.CompletedProcess[str]]


class TestWithoutModels:
    def test_without_system_libraries_one_line_names_all_of_them(self, edge_app: Run, tmp_path: Path) -> None:
        libraries = broken_opencv(tmp_path / "broken")
        path = f"{tmp_path / 'broken'}{os.pathsep}{ROOT}"
        for arguments in (["run", "demo"], ["image", "a.png"], ["bench"]):
            line = one_error(edge_app(*arguments, PYTHONPATH=path), 2)
            for library, package in libraries.items():
                assert library in line
                assert re.search(rf"(apt-get install|on Debian:) .*\b{package}\b", line)
        assert edge_app("--help", PYTHONPATH=path).returncode == 0
        assert edge_app("config", PYTHONPATH=path).returncode == 0
        report = edge_app("doctor", "--json", PYTHONPATH=path)
        assert report.returncode == 2
        checks = {row["name"]: row for row in json.loads(report.stdout)["checks"]}
        assert checks["opencv"]["status"] == "error"
        assert all(package in checks["opencv"]["advice"] for package in libraries.values())

    def test_doctor_reports_a_broken_configuration(self, edge_app: Run, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("detector:\n  thread: 2\n", encoding="utf-8")
        result = edge_app("doctor", "--json")
        checks = {row["name"]: row for row in json.loads(result.stdout)["checks"]}
        assert result.returncode == 2
        assert "'detector.threads'" in checks["configuration"]["detail"]

    def test_a_reader_that_leaves_early_is_no_error(self, tmp_path: Path) -> None:
        for arguments in ("config", "config --format yaml", "doctor --json", "run --help"):
            script = f"{' '.join(COMMAND)} {arguments} | true; exit ${{PIPESTATUS[0]}}"
            result = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
            )
            assert result.stderr == ""

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
    @pytest.mark.parametrize("form", ["table", "json"])
    def test_full_standard_output(self, tmp_path: Path, form: str) -> None:
        with Path("/dev/full").open("w", encoding="utf-8") as full:
            result = subprocess.run(
                [*COMMAND, "config", "--format", form],
                cwd=tmp_path,
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
            )
        line = one_error(result, 5)
        assert "standard output" in line

    def test_help_is_quick_and_loads_nothing_heavy(self, tmp_path: Path) -> None:
        code = (
            "import sys; from edge_app.commands.app import main; main(['--help']);"
            "assert not {'cv2', 'numpy', 'onnxruntime', 'torch', 'supervision'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True, timeout=60)

    def test_a_missing_model_is_named(self, edge_app: Run, tmp_path: Path) -> None:
        picture = tmp_path / "a.png"
        cv2.imwrite(str(picture), np.zeros((64, 64, 3), np.uint8))
        line = one_error(edge_app("image", picture, "--set", "detector.model=nowhere"), 3)
        assert "nowhere/manifest.json" in line


@pytest.fixture
def pictures(tmp_path: Path, astronaut: Image) -> Path:
    """A folder with a portrait, an empty wall, a grey and a 4-channel portrait, and files that are no pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "portrait.png"), astronaut)
    cv2.imwrite(str(folder / "wall.jpg"), np.full((240, 320, 3), 180, np.uint8))
    cv2.imwrite(str(folder / "grey.png"), cv2.cvtColor(astronaut, cv2.COLOR_BGR2GRAY))
    cv2.imwrite(str(folder / "alpha.png"), cv2.cvtColor(astronaut, cv2.COLOR_BGR2BGRA))
    return folder


@pytest.mark.usefixtures("models")
class TestImage:
    def test_a_bare_face_is_found_and_judged(self, edge_app: Run, pictures: Path) -> None:
        result = edge_app("image", pictures / "portrait.png", "--format", "jsonl")
        assert result.returncode == 0, result.stderr
        picture = json.loads(result.stdout)
        assert picture["path"] == str(pictures / "portrait.png")
        assert picture["size"] == [512, 512]
        (face,) = picture["faces"]
        assert set(face) == {"box", "score", "label", "mask_probability"}
        assert face["label"] == "no_mask"
        x0, y0, x1, y1 = face["box"]
        assert 150 < (x0 + x1) / 2 < 290
        assert 60 < (y0 + y1) / 2 < 190

    def test_folder_of_pictures_of_every_kind(self, edge_app: Run, pictures: Path) -> None:
        result = edge_app("image", pictures, "--format", "jsonl")
        assert result.returncode == 0, result.stderr
        found = {Path(p["path"]).name: len(p["faces"]) for p in map(json.loads, result.stdout.splitlines())}
        assert found == {"portrait.png": 1, "wall.jpg": 0, "grey.png": 1, "alpha.png": 1}

    def test_table(self, edge_app: Run, pictures: Path) -> None:
        result = edge_app("image", pictures / "portrait.png", pictures / "wall.jpg")
        assert result.returncode == 0, result.stderr
        assert "no_mask" in result.stdout
        assert "no face" in result.stdout

    def test_bad_pictures_are_reported_and_the_others_done(self, edge_app: Run, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "text.png").write_text("not a picture", encoding="utf-8")
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "nothing").mkdir()
        bad = [tmp_path / name for name in ("text.png", "empty.jpg", "missing.jpg", "nothing")]
        result = edge_app("image", *bad, pictures / "portrait.png", "--format", "jsonl")
        assert result.returncode == 4
        *errors, totals = result.stderr.splitlines()
        assert totals == "pictures: 1, faces: 1 (0 mask, 1 no_mask, 0 unsure); could not be judged: 4"
        assert all(line.startswith("error: ") for line in errors)
        assert all(any(str(path) in line for line in errors) for path in bad)
        assert len(errors) == len(bad)
        assert len(result.stdout.splitlines()) == 1

    def test_subfolders_are_judged_and_the_totals_told(self, edge_app: Run, pictures: Path) -> None:
        below = pictures / "day 2" / "roll 1"
        below.mkdir(parents=True)
        (pictures / "portrait.png").rename(below / "portrait.png")
        (below / "._portrait.png").write_bytes(b"\0\5\x16\7")
        result = edge_app("image", pictures)
        assert (result.returncode, result.stderr) == (0, "")
        assert "roll 1/portrait.png" in result.stdout
        assert result.stdout.splitlines()[-1] == "pictures: 4, faces: 3 (0 mask, 3 no_mask, 0 unsure)"

    def test_faces_that_are_too_small_are_counted(self, edge_app: Run, pictures: Path) -> None:
        result = edge_app("image", pictures / "portrait.png", "--set", "detector.min_face_px=300", "--format", "jsonl")
        picture = json.loads(result.stdout)
        assert (picture["faces"], picture["faces_too_small"]) == ([], 1)
        assert "; 1 left out, narrower than detector.min_face_px = 300" in result.stderr

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("https://user:secret@host/a.jpg", "https://***@host/***"),
            ("rtsp://user:secret@host/1", "rtsp://***@host/1"),
        ],
    )
    def test_an_address_is_no_picture(self, edge_app: Run, url: str, shown: str) -> None:
        error = edge_app("image", url).stderr
        assert error.startswith(f"error: {shown}: an address, not a picture")

    def test_no_bad_picture_ends_the_batch(self, edge_app: Run, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "long.jpg").symlink_to("x" * 300)
        (tmp_path / "loop.jpg").symlink_to("loop.jpg")
        cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((1, 70_000), np.uint8))
        (tmp_path / "script.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
        bad = [tmp_path / f"{name}" for name in ("long.jpg", "loop.jpg", "wide.png", "script.jpg", "x" * 300)]
        result = edge_app("image", *bad, "/dev/zero", pictures, "--format", "jsonl")
        assert result.returncode == 4
        assert len(result.stdout.splitlines()) == 4
        *errors, totals = result.stderr.splitlines()
        assert all(line.startswith("error: ") for line in errors)
        assert len(errors) == 6
        assert totals.endswith("could not be judged: 6")

    def test_a_picture_that_fills_the_memory_is_passed_over(self, pictures: Path, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "large.png"), np.zeros((6000, 6000, 3), np.uint8))
        code = (
            "import resource, sys; from pathlib import Path\n"
            "from edge_app.commands.pictures import judge; from edge_app.config.settings import Settings\n"
            "small, large = map(Path, sys.argv[1:])\n"
            "found = judge([small, large, small], Settings(), on_error=print)\n"
            "print(len(next(found).faces))\n"
            "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
            "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (100 << 20),) * 2)\n"
            "print(len(next(found).faces))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code, str(pictures / "portrait.png"), str(tmp_path / "large.png")],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        first, error, last = result.stdout.splitlines()
        assert (first, last) == ("1", "1")
        assert "large.png: too" in error

    def test_copies_overwrite_neither_inputs_nor_each_other(
        self, edge_app: Run, pictures: Path, tmp_path: Path, astronaut: Image
    ) -> None:
        twin = tmp_path / "twin"
        twin.mkdir()
        cv2.imwrite(str(twin / "portrait.png"), astronaut)
        before = (twin / "portrait.png").read_bytes()
        result = edge_app("image", pictures / "portrait.png", twin / "portrait.png", "--output-dir", twin)
        assert result.returncode == 0, result.stderr
        assert (twin / "portrait.png").read_bytes() == before
        written = sorted(path.name for path in twin.iterdir())
        assert written == ["portrait.png", "portrait_2.png", "portrait_3.png"]
        copy = cv2.imread(str(twin / "portrait_2.png"))
        assert copy is not None
        assert copy.shape == astronaut.shape

    def test_a_copy_too_long_for_its_format_is_a_png(self, edge_app: Run, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "long.png"), grey(90, 20_000, 40))
        (tmp_path / "long.png").rename(tmp_path / "long.webp")  # formats are told by content
        result = edge_app("image", tmp_path / "long.webp", "--output-dir", "out")
        assert result.returncode == 0, result.stderr
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["long.png"]

    def test_copies_follow_no_link_and_keep_what_is_there(self, edge_app: Run, pictures: Path, tmp_path: Path) -> None:
        folder, victim = tmp_path / "out", tmp_path / "victim"
        folder.mkdir()
        victim.write_text("old", encoding="utf-8")
        (folder / "portrait.png").symlink_to(victim)
        (folder / "portrait_2.png").write_text("unrelated", encoding="utf-8")
        (folder / "wall.jpg").write_text("unrelated", encoding="utf-8")
        command = ("image", pictures / "portrait.png", pictures / "wall.jpg", "--output-dir", folder)
        assert edge_app(*command).returncode == 0
        assert victim.read_text(encoding="utf-8") == "old"
        assert (folder / "portrait_2.png").read_text(encoding="utf-8") == "unrelated"
        copies = [folder / "portrait_3.png", folder / "wall_2.jpg"]
        assert all(cv2.imread(str(copy)) is not None and copy.stat().st_mode & 0o777 == 0o600 for copy in copies)
        assert edge_app(*command, "--overwrite").returncode == 0
        assert victim.read_text(encoding="utf-8") == "old"
        assert cv2.imread(str(folder / "wall.jpg")) is not None
        assert not (folder / "portrait.png").is_symlink()

    def test_overwriting_spares_the_inputs(self, edge_app: Run, pictures: Path) -> None:
        before = (pictures / "portrait.png").read_bytes()
        for _ in range(2):
            result = edge_app("image", pictures / "portrait.png", "--output-dir", pictures, "--overwrite")
            assert result.returncode == 0, result.stderr
        assert (pictures / "portrait.png").read_bytes() == before
        assert not (pictures / "portrait_3.png").exists()

    @pytest.mark.parametrize("format", ["table", "jsonl"])
    def test_what_was_judged_before_a_copy_failed_is_told(
        self, edge_app: Run, pictures: Path, tmp_path: Path, format: str
    ) -> None:
        (tmp_path / "out" / "wall.jpg").mkdir(parents=True)
        files = (pictures / "portrait.png", pictures / "wall.jpg")
        result = edge_app("image", *files, "--output-dir", "out", "--format", format)
        assert result.returncode == 5
        assert result.stderr.splitlines()[-1] == "error: out/wall.jpg: cannot be written (Is a directory)"
        assert "portrait.png" in result.stdout
        assert "pictures: 1, faces: 1 (0 mask, 1 no_mask, 0 unsure)" in result.stdout + result.stderr

    def test_output_folder_that_cannot_be(self, edge_app: Run, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        result = edge_app("image", pictures / "portrait.png", "--output-dir", tmp_path / "file" / "sub")
        assert str(tmp_path / "file" / "sub") in one_error(result, 5)
        result = edge_app("image", pictures / "portrait.png", "--output-dir", "rtsp://user:hunter2@host/x")
        assert one_error(result, 2).startswith("error: --output-dir: this is an address")


@pytest.mark.usefixtures("models", "astronaut")
class TestRun:
    def test_demo_from_start_to_summary(self, edge_app: Run, tmp_path: Path) -> None:
        result = edge_app(
            "run", "demo", "--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4", "--max-frames", 60
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith("done\n")
        assert "frame " in result.stderr
        facts: dict[str, Any] = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
        assert facts["frames"] == 60
        assert facts["interrupted"] is False
        assert (tmp_path / "v.mp4").stat().st_size > 1000
        events = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(events) == facts["events"]

    @pytest.mark.parametrize(
        ("source", "content"),
        [("missing.mp4", None), ("garbage.mp4", b"garbage" * 100), ("empty.mp4", b""), ("empty_folder/", None)],
    )
    def test_bad_sources(self, edge_app: Run, tmp_path: Path, source: str, content: bytes | None) -> None:
        if content is not None:
            (tmp_path / source).write_bytes(content)
        elif source.endswith("/"):
            (tmp_path / source).mkdir()
        assert source.rstrip("/") in one_error(edge_app("run", source), 4)

    def test_refused_stream_hides_the_password(self, edge_app: Run) -> None:
        result = edge_app(
            "run", "rtsp://admin:s3cret@127.0.0.1:9/live", "--set", "source.reconnect=false", "--max-frames", 5
        )
        assert "s3cret" not in result.stdout + result.stderr
        assert "127.0.0.1:9" in one_error(result, 4)

    @pytest.mark.parametrize("flag", ["--output", "--events", "--summary"])
    def test_outputs_that_cannot_be_written(self, edge_app: Run, tmp_path: Path, flag: str) -> None:
        (tmp_path / "file").touch()
        result = edge_app("run", "demo", "--max-frames", 5, flag, "file/folder/file.mp4")
        assert "file/folder" in one_error(result, 5)

    @pytest.mark.parametrize("flag", ["--output", "--events", "--summary"])
    def test_a_source_is_never_an_output(self, edge_app: Run, tmp_path: Path, flag: str) -> None:
        clip = write_clip(tmp_path / "c.mp4", [grey(90)] * 5)
        (tmp_path / "link.mp4").symlink_to(clip)
        before = clip.read_bytes()
        assert "the source" in one_error(edge_app("run", "c.mp4", flag, "link.mp4", "--overwrite"), 2)
        (tmp_path / "cameras.yaml").write_text('sources: [{uri: "demo"}, {uri: c.mp4}]', encoding="utf-8")
        output = flag.strip("-").replace("output", "video")
        config = ("--config", "cameras.yaml")
        if flag != "--output":
            assert "the source" in one_error(edge_app("run", *config, "--set", f"output.{output}=link.mp4"), 2)
        assert "the configuration" in one_error(edge_app("run", *config, "--events", "cameras.yaml"), 2)
        assert clip.read_bytes() == before
        assert clip.stat().st_nlink == 1

    def test_a_chart_is_never_the_source(self, edge_app: Run, pictures: Path) -> None:
        path = pictures / "portrait.png"
        before = path.read_bytes()
        assert "the source" in one_error(edge_app("bench", path, "--frames", 1, "--chart", path), 2)
        assert path.read_bytes() == before

    def test_a_second_run_keeps_the_first_recording_and_names_its_own(self, edge_app: Run, tmp_path: Path) -> None:
        command = ("run", "demo", "--max-frames", 5, "--output", "12:30.mp4", "--summary", "s.json")
        first = edge_app(*command)
        assert first.returncode == 0, first.stderr
        recording = (tmp_path / "12:30.mp4").read_bytes()
        second = edge_app(*command)
        assert "12:30-2.mp4" in second.stdout
        assert "12:30-2.mp4" in second.stderr
        (camera,) = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["cameras"]
        assert camera["outputs"]["video"] == "12:30-2.mp4"
        assert (tmp_path / "12:30.mp4").read_bytes() == recording
        assert "12:30.mp4" in edge_app(*command, "--overwrite").stdout
        assert sorted(path.name for path in tmp_path.iterdir()) == ["12:30-2.mp4", "12:30.mp4", "s.json"]

    def test_pipes_that_nobody_reads_hold_nothing_up(self, edge_app: Run, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "events")
        os.mkfifo(tmp_path / "summary")
        result = edge_app("run", "demo", "--max-frames", 20, "--events", "events", "--summary", "summary")
        assert result.returncode == 5
        assert "nobody" in result.stderr.splitlines()[-1]

    def test_show_without_a_display_is_a_hint(self, edge_app: Run) -> None:
        result = edge_app("run", "demo", "--show", "--max-frames", 5, WAYLAND_DISPLAY="")
        assert "display" in one_error(result, 2)

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
    def test_a_signal_ends_the_run_cleanly(self, tmp_path: Path, number: signal.Signals, code: int) -> None:
        process = subprocess.Popen(
            [*COMMAND, "run", "demo", "--events", "e.jsonl", "--summary", "s.json", "--output", "v.mp4"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not (tmp_path / "v.mp4").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert out.startswith("interrupted\n")
        assert "Traceback" not in err
        assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))["interrupted"] is True
        capture = cv2.VideoCapture(str(tmp_path / "v.mp4"))
        assert capture.isOpened()
        capture.release()


@pytest.mark.usefixtures("models", "astronaut")
class TestBenchAndDoctor:
    def test_bench_prints_one_json_object(self, edge_app: Run) -> None:
        result = edge_app("bench", "demo", "--frames", 30, "--json")
        assert result.returncode == 0, result.stderr
        assert isinstance(json.loads(result.stdout), dict)

    def test_bench_table(self, edge_app: Run) -> None:
        result = edge_app("bench", "demo", "--frames", 30)
        assert result.returncode == 0, result.stderr
        assert "fps" in result.stdout

    def test_doctor_verifies_the_models(self, edge_app: Run) -> None:
        result = edge_app("doctor", "--json")
        checks = {row["name"]: row for row in json.loads(result.stdout)["checks"]}
        assert checks["model face_detector"]["status"] == "ok"
        assert checks["model mask_classifier"]["status"] == "ok"
        assert result.returncode == 0

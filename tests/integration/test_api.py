"""`from edge_app import Analyzer, watch`: the same faces, verdicts and events as the commands give."""

import doctest
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

import edge_app
from edge_app import Analyzer, EdgeAppError, Face, FrameResult, Settings, watch
from edge_app.capture import demo
from edge_app.capture.open import OPENERS
from edge_app.capture.source import Source, SourceInfo
from edge_app.errors import ModelError, SourceError, UsageError
from edge_app.runtime import watch as watch_module
from edge_app.runtime.run import run
from edge_app.vision import analyzer as analyzer_module
from tests.command import COMMAND, environment
from tests.integration.test_pipeline import lines, told
from tests.media import Pixels, grey, write_clip

pytestmark = pytest.mark.usefixtures("models", "astronaut", "empty_folder")


def our_threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread is not threading.main_thread()}


def soon(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


@pytest.fixture(scope="module")
def analyzer(models: Path) -> Analyzer:
    return Analyzer(Settings())


@pytest.mark.parametrize("module", [analyzer_module, watch_module], ids=["Analyzer", "watch"])
def test_the_examples_say_what_happens(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


class TestImporting:
    def test_loads_nothing_until_a_name_is_used(self) -> None:
        code = (
            "import sys, edge_app\n"
            "print(sorted(name for name in sys.modules if name.startswith(('edge_app', 'numpy', 'cv2', 'pydantic'))))\n"
            "from edge_app import *\n"
            "print(all(name in globals() and name in dir(edge_app) for name in edge_app.__all__))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.splitlines() == ["['edge_app']", "True"]

    def test_another_name_is_an_error(self) -> None:
        with pytest.raises(AttributeError, match="module 'edge_app' has no attribute 'analyser'"):
            edge_app.analyser  # type: ignore[attr-defined]  # noqa: B018


class TestAnalyzer:
    def test_says_what_the_command_says(self, tmp_path: Path, astronaut: Pixels, masked: Pixels) -> None:
        dark = (astronaut * 0.1).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "three.png"), np.hstack([astronaut, masked, dark]))
        command = [*COMMAND, "image", "three.png", "--format", "jsonl"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=True
        )
        expected = json.loads(done.stdout)["faces"]
        assert sorted(face["label"] for face in expected) == ["mask", "no_mask", "unsure"]
        assert [face.to_dict() for face in Analyzer()("three.png")] == expected

    def test_a_path_and_its_pixels_are_the_same(self, tmp_path: Path, analyzer: Analyzer, masked: Pixels) -> None:
        cv2.imwrite(str(tmp_path / "masked.png"), masked)
        found = analyzer(masked)
        assert [face.label for face in found] == ["mask"]
        assert isinstance(found[0], Face)
        assert analyzer(tmp_path / "masked.png") == analyzer(str(tmp_path / "masked.png")) == found
        rgb = np.ascontiguousarray(masked[..., ::-1])
        assert analyzer(rgb[..., ::-1]) == found  # a view with a step back, as people turn RGB into BGR

    def test_no_face_is_an_empty_list_and_columns_stay(self, analyzer: Analyzer) -> None:
        wall = grey(120, 200, 300)
        assert analyzer(wall) == []
        found = analyzer.analyze(wall).data
        assert {name: (column.shape, column.dtype.kind) for name, column in found.items()} == {
            "landmarks": ((0, 5, 2), "f"),
            "mask_probability": ((0,), "f"),
            "quality": ((0,), "f"),
            "label": ((0,), "U"),
        }

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((40, 40, 3), np.float32),
            np.zeros((40, 40), np.uint8),
            np.zeros((40, 40, 4), np.uint8),
            np.zeros((0, 40, 3), np.uint8),
            [[[0, 0, 0]]],
            None,
        ],
        ids=["float", "grey", "alpha", "empty", "list", "none"],
    )
    def test_what_is_no_image_is_refused(self, analyzer: Analyzer, image: Any) -> None:
        with pytest.raises(UsageError, match=r"expected a uint8 \(H, W, 3\) BGR image or a path, found"):
            analyzer(image)

    def test_bad_paths_and_models_are_named(self, tmp_path: Path, analyzer: Analyzer) -> None:
        (tmp_path / "text.jpg").write_text("no picture", encoding="utf-8")
        for name in ("missing.jpg", "text.jpg"):
            with pytest.raises(SourceError, match=name):
                analyzer(name)
        with pytest.raises(ModelError, match="no/model"):
            Analyzer(Settings.model_validate({"detector": {"model": "no/model"}}))

    def test_the_configuration_of_the_folder_counts_where_none_is_given(
        self, tmp_path: Path, analyzer: Analyzer, astronaut: Pixels
    ) -> None:
        (tmp_path / "config.yaml").write_text("detector: {min_face_px: 300}\n", encoding="utf-8")
        assert Analyzer()(astronaut) == []
        assert len(analyzer(astronaut)) == 1
        (tmp_path / "config.yaml").write_text("detector: {min_face_pix: 300}\n", encoding="utf-8")
        with pytest.raises(UsageError, match=r"config\.yaml line 1"):
            Analyzer()


class Endless(Source):
    """A live camera in front of a person who sits still, 200 frames a second."""

    def __init__(self) -> None:
        self.image, self.closed = demo.portrait(masked=False), threading.Event()
        height, width = self.image.shape[:2]
        self.info = SourceInfo("camera 0", "camera", True, width, height, 200.0, None)

    def read(self) -> tuple[Pixels, float] | None:
        time.sleep(0.005)
        return self.image, time.monotonic()

    def close(self) -> None:
        self.closed.set()


class TestWatch:
    def test_gives_the_events_of_a_run_and_every_frame(self, tmp_path: Path) -> None:
        run(Settings.model_validate({"source": {"uri": "demo"}, "output": {"events": tmp_path / "e.jsonl"}}))
        before = our_threads()
        *frames, last = watch("demo", Settings())
        assert [told(event) for result in (*frames, last) for event in result.events] == [
            told(event) for event in lines(tmp_path / "e.jsonl")
        ]
        assert [result.frame.index for result in frames] == list(range(demo.FRAMES))
        assert all(len(result.verdicts) == len(result.detections) for result in frames)
        assert {verdict.label for result in frames for verdict in result.verdicts} == {"mask", "no_mask", "unsure"}
        assert (last.frame.index, len(last.detections), last.verdicts) == (demo.FRAMES - 1, 0, [])
        assert last.detections.data.keys() == frames[-1].detections.data.keys()
        assert [event.type for event in last.events] == ["end"]
        assert our_threads() == before

    def test_no_more_frames_than_asked_for(self) -> None:
        results = list(watch("demo", Settings(max_frames=7)))
        assert len(results) == 8  # and the end of the person in view
        assert [event.type for event in results[-1].events] == ["end"]

    def test_closing_early_leaves_no_thread(self) -> None:
        before = our_threads()
        results = watch("demo", Settings())
        assert isinstance(next(results), FrameResult)
        assert {"capture", "detect", "judge"} <= our_threads()
        results.close()
        assert our_threads() == before
        for result in watch("demo", Settings()):  # and so does leaving a loop
            assert result.frame.index == 0
            break
        assert soon(lambda: our_threads() == before)

    def test_a_live_source_drops_what_nobody_has_time_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        camera = Endless()
        monkeypatch.setitem(OPENERS, "camera", lambda *_: camera)
        before = our_threads()
        results, seen = watch(0, Settings()), []
        for result in results:
            seen.append(result.frame.index)
            if len(seen) == 8:
                break
            time.sleep(0.1)
        results.close()
        assert seen == sorted(set(seen))
        assert seen[-1] - seen[0] > 2 * len(seen)
        assert time.monotonic() - result.frame.captured_at < 1
        assert camera.closed.is_set()
        assert our_threads() == before

    def test_photos_are_strangers(self, tmp_path: Path, astronaut: Pixels) -> None:
        for number in range(3):
            cv2.imwrite(str(tmp_path / f"{number}.png"), astronaut)
        results = list(watch(tmp_path, Settings()))
        assert [[event.type for event in result.events] for result in results] == [["new", "end"]] * 3

    def test_nothing_happens_before_the_first_result_is_asked_for(self) -> None:
        before = our_threads()
        watch("no/clip.mp4", Settings())
        assert our_threads() == before

    @pytest.mark.parametrize(
        ("source", "kind"),
        [
            ("no/clip.mp4", SourceError),
            (Path("no/clip.mp4"), SourceError),
            ("gopher://x", UsageError),
            ("", UsageError),
        ],
    )
    def test_a_source_that_is_none(self, source: str | Path, kind: type[EdgeAppError]) -> None:
        before = our_threads()
        with pytest.raises(kind):
            next(watch(source, Settings()))
        assert soon(lambda: our_threads() == before)

    def test_a_source_that_fails_midway_gives_what_came_before(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        calls, read = count(), demo.DemoSource.read

        def failing(self: demo.DemoSource) -> tuple[Pixels, float] | None:
            if next(calls) == 20:
                raise SourceError("demo: the camera is gone")
            return read(self)

        monkeypatch.setattr(demo.DemoSource, "read", failing)
        results: list[FrameResult] = []
        with pytest.raises(SourceError, match="the camera is gone"):
            results.extend(watch("demo", Settings()))
        assert [event.type for result in results for event in result.events] == ["new", "end"]
        assert len(results) == 21

    def test_a_clip_without_anybody_has_a_result_a_frame(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "wall.mp4", [grey(120, 240, 320)] * 5)
        results = list(watch(clip, Settings()))
        assert [len(result.detections) for result in results] == [0] * 5

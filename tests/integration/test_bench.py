"""The bench on real frames: it counts what it ran, and its figures fit together."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edge_app.bench.baseline import resnet50
from edge_app.bench.bench import peak_rss_mib, run_bench
from edge_app.commands.app import main
from edge_app.config.settings import Settings
from edge_app.errors import ModelError, SinkError, SourceError
from tests.media import Pixels


def settings(uri: object, **sections: object) -> Settings:
    return Settings.model_validate({"source": {"uri": str(uri)}, **sections})


def test_the_figures_of_the_demo_fit_together(models: Path, astronaut: Pixels) -> None:
    report = run_bench(settings("demo"), frames=15)
    facts = report.to_dict()
    assert json.loads(json.dumps(facts)) == {**facts, "size": [1280, 720]}
    assert (report.source, report.frames, report.faces_per_frame) == ("demo", 15, 1.0)
    assert set(report.stages) == {"detect", "classify", "track", "decide"}
    for stage in report.stages.values():
        assert 0 < stage["median_ms"] <= stage["p95_ms"]
    assert facts["pipeline_to_decode"] == pytest.approx(report.pipeline_fps / report.decode_fps, abs=1e-3)
    assert facts["pipeline_to_sequential"] == pytest.approx(report.pipeline_fps / report.sequential_fps, abs=1e-3)
    assert facts["pipeline_to_same_decoder"] == pytest.approx(report.pipeline_fps / report.same_decoder_fps, abs=1e-3)
    # One frame at a time cannot be faster than its slowest stage alone.
    assert report.sequential_fps <= 2 * 1e3 / max(stage["median_ms"] for stage in report.stages.values())
    for share in (report.cpu_efficiency, report.sequential_cpu_efficiency):
        assert 0 < share <= 1.5
    assert facts["most_to_sequential"] == pytest.approx(1 / report.sequential_cpu_efficiency, abs=1e-3)
    assert report.start_s > 0
    assert 50 < report.peak_mib <= peak_rss_mib() + 0.1


def test_the_table_tells_every_figure(models: Path, astronaut: Pixels) -> None:
    report = run_bench(settings("demo"), frames=2)
    rows = dict(report.rows())
    assert rows["source"] == "demo, 1280x720"
    assert rows["frames"] == "2, 1.00 faces a frame"
    assert rows["decoding alone"] == f"{report.decode_fps:.1f} fps"
    assert {f"{stage}, median / p95" for stage in report.stages} <= set(rows)


def test_the_classic_recipe_is_run_on_the_same_frames(models: Path, tmp_path: Path, astronaut: Pixels) -> None:
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), astronaut)
    report = run_bench(settings(tmp_path), frames=None, classic=True)
    facts = report.to_dict()
    assert report.classic_fps is not None
    assert facts["pipeline_to_classic"] == pytest.approx(report.pipeline_fps / report.classic_fps, abs=1e-3)
    assert report.first_result_s is not None
    assert report.headless_mib is not None
    assert report.first_result_s > report.start_s
    assert report.headless_mib > 50  # no upper bound: Linux counts what this process holds, torch included
    assert {"classic recipe", "start to first result"} <= set(dict(report.rows()))
    chart = tmp_path / "bench.png"
    report.plot(chart)
    assert cv2.imread(str(chart)).std() > 10
    first = chart.read_bytes()
    report.plot(chart)
    assert chart.read_bytes() == first
    assert (tmp_path / "bench-2.png").is_file()
    with pytest.raises(SinkError, match="none"):
        report.plot(chart / "none" / "bench.png")


def test_the_figures_are_told_though_the_chart_cannot_be_drawn(
    models: Path, tmp_path: Path, astronaut: Pixels, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    cv2.imwrite(str(tmp_path / "a.png"), astronaut)
    (tmp_path / "chart.png").mkdir()
    assert main(["bench", str(tmp_path), "--chart", str(tmp_path / "chart.png")]) == 5
    told = capsys.readouterr()
    assert "decoding alone" in told.out
    assert "chart.png: the chart cannot be written (Is a directory)" in told.err


def test_the_classic_network_is_resnet_50() -> None:
    torchvision = pytest.importorskip("torchvision")
    ours = sum(int(np.prod(w.dims)) for w in onnx.load_from_string(resnet50()).graph.initializer)
    net = torchvision.models.resnet50(num_classes=2)
    theirs = sum(p.numel() for p in net.parameters())
    folded = sum(m.num_features for m in net.modules() if isinstance(m, torchvision.models.resnet.nn.BatchNorm2d))
    assert ours == theirs - folded  # a folded normalisation leaves one bias of its two parameters a channel


def test_a_source_that_ends_is_run_whole(models: Path, tmp_path: Path, astronaut: Pixels) -> None:
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), astronaut)
    report = run_bench(settings(tmp_path), frames=None)
    assert (report.frames, report.size) == (3, (512, 512))
    assert report.faces_per_frame >= 1


def test_more_frames_than_there_are(models: Path, tmp_path: Path, astronaut: Pixels) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), astronaut[:200, 100:330])
    assert run_bench(settings(tmp_path), frames=50).frames == 1


@pytest.mark.parametrize("content", [None, b"", b"no video at all" * 50])
def test_a_source_that_cannot_be_opened(models: Path, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4"):
        run_bench(settings(path), frames=5)


def test_a_model_that_is_not_there(tmp_path: Path, astronaut: Pixels) -> None:
    with pytest.raises(ModelError, match="no such file"):
        run_bench(settings("demo", detector={"model": tmp_path / "none"}), frames=2)

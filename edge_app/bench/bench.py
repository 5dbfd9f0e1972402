"""`edge-app bench`: throughput and stage times of a source on this machine, all in one run.

Passes over the same frames: decoding alone, one frame at a time (decoded on all cores, and as the pipeline does), the
threaded pipeline and, if asked for, the classic recipe. They take turns, and the median of three counts: on a noisy
machine ratios are more reliable than single figures.
"""

import io
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from edge_app.bench.baseline import ClassicRecipe
from edge_app.bench.plots import pyplot
from edge_app.capture.open import open_source, parse_source
from edge_app.capture.reader import FrameReader
from edge_app.capture.source import SourceSpec
from edge_app.config.secrets import revealed
from edge_app.config.settings import DetectorSettings, Settings, SourceSettings
from edge_app.errors import SinkError, SourceError, UsageError
from edge_app.monitor.timings import Metrics
from edge_app.outputs import files
from edge_app.planes import as_picture
from edge_app.records import Frame
from edge_app.runtime.pipeline import SourceAnalyzer
from edge_app.runtime.threads import prefetch
from edge_app.vision.analyzer import Analyzer

log = logging.getLogger(__name__)

TURNS = 3  # rounds of all passes, of which the median counts: a machine's speed drifts within seconds
CLASSIC_FRAMES = 60  # the classic recipe is slow, and its time a frame varies little


@dataclass(slots=True)
class BenchReport:
    """frames: of the threaded pass; faces: mean a frame; fps by pass, decode and sequential with decoders on all
    cores, same_decoder one frame at a time with the pipeline's own; stages: name -> median_ms, p95_ms, timed
    one frame at a time; cpu_efficiency: CPU seconds used over cores times wall seconds, in the pipeline and in
    sequential; first_result_s: a whole command on one frame, interpreter start and end included; peak_mib:
    peak RSS of this process, which runs every pass; headless_mib: that of a process which runs the pipeline alone.
    None: not measured."""

    source: str
    size: tuple[int, int]
    frames: int
    faces_per_frame: float
    decode_fps: float
    sequential_fps: float
    same_decoder_fps: float
    pipeline_fps: float
    cpu_efficiency: float
    sequential_cpu_efficiency: float
    start_s: float
    peak_mib: float
    stages: dict[str, dict[str, float]]
    classic_fps: float | None = None
    first_result_s: float | None = None
    headless_mib: float | None = None

    def to_dict(self) -> dict[str, Any]:
        ratios = {
            "pipeline_to_decode": round(self.pipeline_fps / self.decode_fps, 3),
            "pipeline_to_sequential": round(self.pipeline_fps / self.sequential_fps, 3),
            # With every core busy all the time, the same work could not be faster than this.
            "most_to_sequential": round(1 / self.sequential_cpu_efficiency, 3),
            "pipeline_to_same_decoder": round(self.pipeline_fps / self.same_decoder_fps, 3),
            "pipeline_to_classic": round(self.pipeline_fps / self.classic_fps, 3) if self.classic_fps else None,
        }
        return asdict(self) | ratios

    def passes(self) -> dict[str, float]:
        """Frames a second of each pass."""
        passes = {
            "decoding alone": self.decode_fps,
            "one frame at a time": self.sequential_fps,
            "the same, decoding as the pipeline": self.same_decoder_fps,
            "pipeline": self.pipeline_fps,
        }
        return passes | ({"classic recipe": self.classic_fps} if self.classic_fps else {})

    def rows(self) -> list[tuple[str, str]]:
        facts = self.to_dict()
        rows = [
            ("source", f"{self.source}, {self.size[0]}x{self.size[1]}"),
            ("frames", f"{self.frames}, {self.faces_per_frame:.2f} faces a frame"),
            ("models loaded", f"{self.start_s:.2f} s"),
            *((f"{n}, median / p95", f"{v['median_ms']:.2f} / {v['p95_ms']:.2f} ms") for n, v in self.stages.items()),
            *((name, f"{fps:.1f} fps") for name, fps in self.passes().items()),
            ("pipeline / decoding alone", f"{facts['pipeline_to_decode']:.2f}"),
            ("pipeline / one at a time", f"{facts['pipeline_to_sequential']:.2f}"),
            ("the most, had it kept all cores busy", f"{facts['most_to_sequential']:.2f}"),
            ("pipeline / the same, decoding as the pipeline", f"{facts['pipeline_to_same_decoder']:.2f}"),
            ("CPU use of all cores", f"{self.cpu_efficiency:.0%}"),
            ("peak memory of the bench", f"{self.peak_mib:.0f} MiB"),
        ]
        if self.classic_fps:
            rows.append(("pipeline / classic recipe", f"{facts['pipeline_to_classic']:.2f}"))
        if self.headless_mib:
            rows.append(("peak memory, pipeline alone", f"{self.headless_mib:.0f} MiB"))
        if self.first_result_s:
            rows.append(("start to first result", f"{self.first_result_s:.2f} s"))
        return rows

    def plot(self, png: Path, mode: int = files.PRIVATE, overwrite: bool = False) -> None:
        """Draw the passes' frames a second as a bar chart. An existing file is kept, unless `overwrite`.

        Raises:
            UsageError: matplotlib is absent. SinkError: the file cannot be written.
        """
        try:
            plt = pyplot()
        except ImportError:
            raise UsageError("--chart needs matplotlib: pip install matplotlib") from None
        passes = self.passes()
        figure = plt.Figure(figsize=(7, 0.6 * len(passes) + 1.2), layout="constrained")
        axis = figure.subplots()
        axis.bar_label(axis.barh(list(passes), list(passes.values())), fmt="%.1f", padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.12)
        axis.set(xlabel="frames a second", title=f"{self.size[0]}x{self.size[1]}, {self.faces_per_frame:.1f} faces")
        picture = io.BytesIO()
        try:
            figure.savefig(picture, dpi=120, format=png.suffix[1:] or "png")
            path = files.write_new(png, picture.getvalue(), mode, overwrite)
        except (OSError, ValueError) as error:  # ValueError: an ending that is no picture format
            reason = getattr(error, "strerror", None) or error
            raise SinkError(f"{png}: the chart cannot be written ({reason}); expected a .png in a folder") from None
        if path != png:
            log.warning("%s: the chart is written to %s, because that exists (--overwrite replaces it)", png, path)


def run_bench(settings: Settings, frames: int | None, classic: bool = False) -> BenchReport:
    """Measure a source that ends by itself, or `frames` frames of it (a live source needs that, or 100 are taken).

    Args:
        classic: time the classic recipe too, and whole commands for their start and memory.

    Raises:
        SourceError: a source that cannot be opened or gave no frame.
        UsageError: `classic` without the package that it needs.
    """
    spec = parse_source(settings.source.uri)
    frames = frames or (100 if spec.live else None)
    settings = settings.model_copy(update={"source": settings.source.model_copy(update={"reconnect": False})})
    # The pipeline is compared with decoding on all cores, OpenCV's default.
    usual = settings.source.model_copy(update={"decode_threads": os.cpu_count()})
    decoded, size, fps = decode(spec, usual, frames)
    # Before the models fill this process: Linux counts what a parent held into its child's peak memory.
    whole = whole_command(settings, decoded) if classic else None
    start = time.perf_counter()
    analyzer = Analyzer(settings)
    start_s = time.perf_counter() - start
    metrics, faces = Metrics(), 0
    efficiency: dict[str, list[float]] = {"sequential": [], "pipeline": []}
    rates: dict[str, list[float]] = {"decode": [fps], "sequential": [], "same_decoder": [], "pipeline": []}
    for turn in range(TURNS):
        if turn:
            rates["decode"].append(decode(spec, usual, frames)[2])
        faces, fps, used = one_at_a_time(SourceAnalyzer(settings, analyzer), spec, usual, frames, metrics)
        rates["sequential"].append(fps)
        efficiency["sequential"].append(used)
        _, fps, _ = one_at_a_time(SourceAnalyzer(settings, analyzer), spec, settings.source, frames, Metrics())
        rates["same_decoder"].append(fps)
        count, fps, used = staged(SourceAnalyzer(settings, analyzer), spec, settings.source, frames)
        rates["pipeline"].append(fps)
        efficiency["pipeline"].append(used)
    report = BenchReport(
        source=spec.display,
        size=size,
        frames=count,
        faces_per_frame=round(faces / max(1, decoded), 3),
        decode_fps=round(median(rates["decode"]), 2),
        sequential_fps=round(median(rates["sequential"]), 2),
        same_decoder_fps=round(median(rates["same_decoder"]), 2),
        pipeline_fps=round(median(rates["pipeline"]), 2),
        cpu_efficiency=round(median(efficiency["pipeline"]), 3),
        sequential_cpu_efficiency=round(median(efficiency["sequential"]), 3),
        start_s=round(start_s, 3),
        peak_mib=round(peak_rss_mib(), 1),
        stages=metrics.summary(),
    )
    if whole:
        report.first_result_s, report.headless_mib = whole
        report.classic_fps = round(classic_fps(settings.detector, spec, usual, min(count, CLASSIC_FRAMES)), 2)
    return report


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, frames: int) -> tuple[float, float]:
        """Frames a second, and CPU seconds of this process over cores times wall seconds."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return frames / wall, cpu / wall / (os.cpu_count() or 1)


def decode(spec: SourceSpec, source_settings: SourceSettings, frames: int | None) -> tuple[int, tuple[int, int], float]:
    """Frames, their width and height, and frames a second of reading alone. SourceError where no frame came."""
    done = 0
    with open_source(spec, source_settings) as source:
        start = time.perf_counter()
        while (frames is None or done < frames) and source.read() is not None:
            done += 1
        seconds = time.perf_counter() - start
    if done == 0:
        raise SourceError(f"{spec.display}: no frame came, so there is nothing to measure")
    return done, (source.info.width, source.info.height), done / seconds


def one_at_a_time(
    analyzer: SourceAnalyzer, spec: SourceSpec, source_settings: SourceSettings, frames: int | None, metrics: Metrics
) -> tuple[int, float, float]:
    """Faces found, frames a second and the share of all cores used, without any overlap; stage times go to
    `metrics`."""
    done, faces = 0, 0
    # Read in this thread too: a reader thread would already decode concurrently with the models.
    with open_source(spec, source_settings) as source:
        clock = Clock()
        while (frames is None or done < frames) and (read := source.read()) is not None:
            frame = Frame(as_picture(read[0]), done, read[1], time.monotonic(), time.time())
            result = analyzer.judge(analyzer.detect(frame))
            for stage, milliseconds in result.timings.items():
                metrics.add(stage, milliseconds)
            done, faces = done + 1, faces + len(result.detections)
        return faces, *clock.stop(done)


def staged(
    analyzer: SourceAnalyzer, spec: SourceSpec, source_settings: SourceSettings, frames: int | None
) -> tuple[int, float, float]:
    """Frames, frames a second and the share of all cores used, of the threaded pipeline."""
    count = 0
    with FrameReader(spec, source_settings) as reader:
        clock = Clock()
        for _ in prefetch(analyzer.judge, prefetch(analyzer.detect, islice(reader, frames))):
            count += 1
        return count, *clock.stop(count)


def classic_fps(detector: DetectorSettings, spec: SourceSpec, source_settings: SourceSettings, frames: int) -> float:
    """Frames a second of the classic recipe, reading included."""
    recipe, done = ClassicRecipe(detector), 0
    with open_source(spec, source_settings) as source:
        start = time.perf_counter()
        while done < frames and (read := source.read()) is not None:
            recipe.classify(as_picture(read[0]).bgr())
            done += 1
        return done / (time.perf_counter() - start)


def whole_command(settings: Settings, frames: int) -> tuple[float, float]:
    """Seconds of a fresh process on one frame, and peak RSS in MiB of one on `frames`.

    The child gets the settings as a private file, so that no credential is in its command line.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EDGE_APP__")}
    plain = json.dumps(  # JSON is YAML too; names of files that are no valid text are escaped
        revealed(settings, exclude={"output", "max_frames"})
    )
    seconds = 0.0
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as config:
        config.write(plain)
        config.flush()
        for count in (1, frames):
            start = time.perf_counter()
            command = [sys.executable, "-m", "edge_app", "run", "--headless", "--config", config.name]
            command += ["--max-frames", str(count)]
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if ended.returncode:
                last = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise SourceError(f"a fresh `edge-app run` failed where the bench did not: {last}")
            seconds = seconds or time.perf_counter() - start
    return round(seconds, 2), round(peak_rss_mib(resource.RUSAGE_CHILDREN), 1)


def peak_rss_mib(who: int = resource.RUSAGE_SELF) -> float:
    """Peak resident memory of this process, or of the largest child that has ended, MiB."""
    peak = resource.getrusage(who).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)

"""`edge-app bench`: what this machine does with a source, stage by stage, all in one run.

Three passes over the same frames: decoding alone, one frame at a time, and the threaded pipeline. Ratios between them
mean something on a noisy machine; single figures less.
"""

import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from edge_app.capture import FrameReader
from edge_app.errors import SourceError
from edge_app.frames import Frame
from edge_app.metrics import Metrics
from edge_app.pipeline import Judge, ahead
from edge_app.settings import Settings
from edge_app.sources import open_source, parse_source


@dataclass(slots=True)
class BenchReport:
    """frames: judged in the threaded pass; faces: mean a frame; fps by pass; stages: name -> median_ms, p95_ms, timed
    one frame at a time; efficiency: CPU seconds used over cores times wall seconds; memory: peak RSS, MiB."""

    source: str
    size: tuple[int, int]
    frames: int
    faces_per_frame: float
    decode_fps: float
    sequential_fps: float
    pipeline_fps: float
    cpu_efficiency: float
    start_s: float
    peak_mib: float
    stages: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        ratios = {
            "pipeline_to_decode": round(self.pipeline_fps / self.decode_fps, 3),
            "pipeline_to_sequential": round(self.pipeline_fps / self.sequential_fps, 3),
        }
        return asdict(self) | ratios

    def rows(self) -> list[tuple[str, str]]:
        facts = self.to_dict()
        return [
            ("source", f"{self.source}, {self.size[0]}x{self.size[1]}"),
            ("frames", f"{self.frames}, {self.faces_per_frame:.2f} faces a frame"),
            ("models loaded", f"{self.start_s:.2f} s"),
            *((f"{n}, median / p95", f"{v['median_ms']:.2f} / {v['p95_ms']:.2f} ms") for n, v in self.stages.items()),
            ("decoding alone", f"{self.decode_fps:.1f} fps"),
            ("one frame at a time", f"{self.sequential_fps:.1f} fps"),
            ("pipeline", f"{self.pipeline_fps:.1f} fps"),
            ("pipeline / decoding alone", f"{facts['pipeline_to_decode']:.2f}"),
            ("pipeline / one at a time", f"{facts['pipeline_to_sequential']:.2f}"),
            ("CPU use of all cores", f"{self.cpu_efficiency:.0%}"),
            ("peak memory", f"{self.peak_mib:.0f} MiB"),
        ]


def run_bench(settings: Settings, frames: int | None) -> BenchReport:
    """Measure a source that ends by itself, or `frames` frames of it (a live source needs that, or 100 are taken).

    Raises:
        SourceError: a source that cannot be opened or gave no frame.
    """
    spec = parse_source(settings.source.uri)
    frames = frames or (100 if spec.live else None)
    settings = settings.model_copy(update={"source": settings.source.model_copy(update={"reconnect": False})})
    decoded, decode_s = 0, 0.0
    with open_source(spec, settings.source) as source:
        size = (source.info.width, source.info.height)
        start = time.perf_counter()
        while (frames is None or decoded < frames) and source.read() is not None:
            decoded += 1
        decode_s = time.perf_counter() - start
    if decoded == 0:
        raise SourceError(f"{spec.display}: no frame came, so there is nothing to measure")

    start = time.perf_counter()
    judge = Judge(settings)
    start_s = time.perf_counter() - start
    metrics, faces = Metrics(), 0
    # Read in this thread too: a reader of its own would already decode beside the models.
    with open_source(spec, settings.source) as source:
        done, start = 0, time.perf_counter()
        while (frames is None or done < frames) and (read := source.read()) is not None:
            result = judge.judge(judge.detect(Frame(read[0], done, read[1], time.monotonic(), time.time())))
            for stage, milliseconds in result.timings.items():
                metrics.add(stage, milliseconds)
            done, faces = done + 1, faces + len(result.detections)
        sequential_s = time.perf_counter() - start

    judge = Judge(settings)
    with FrameReader(spec, settings.source) as reader:
        count, start, cpu = 0, time.perf_counter(), time.process_time()
        for _ in ahead(judge.judge, ahead(judge.detect, islice(reader, frames))):
            count += 1
        pipeline_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu

    return BenchReport(
        source=spec.display,
        size=size,
        frames=count,
        faces_per_frame=round(faces / max(1, done), 3),
        decode_fps=round(decoded / decode_s, 2),
        sequential_fps=round(done / sequential_s, 2),
        pipeline_fps=round(count / pipeline_s, 2),
        cpu_efficiency=round(cpu_s / pipeline_s / (os.cpu_count() or 1), 3),
        start_s=round(start_s, 3),
        peak_mib=round(peak_rss_mib(), 1),
        stages=metrics.summary(),
    )


def peak_rss_mib() -> float:
    """Peak resident memory of this process, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)

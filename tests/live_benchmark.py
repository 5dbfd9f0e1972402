"""What edge_app does with live cameras, in figures: a real RTSP server on this machine, 720p, the released models.

The server paints the time into every picture, so the age of a frame is told by the picture itself: from its making to
the moment at which its results are written. Beside it, in the same run: a plain loop of OpenCV with the same models.

python -m tests.live_benchmark                          # everything: 40 minutes
python -m tests.live_benchmark age work --minutes 1     # some of it
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import supervision as sv

from edge_app.capture.open import parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings
from edge_app.monitor.prometheus import resident_bytes
from edge_app.planes import as_picture
from edge_app.records import Frame, FrameResult, Pixels
from edge_app.runtime import run
from edge_app.runtime.pipeline import SourceAnalyzer
from edge_app.vision.analyzer import Analyzer
from tests.command import Running, held
from tests.outputs import every_result
from tests.rtsp import RtspServer, age_if_read, camera, in_720p, made_since, write_still

WORK_S = 0.08  # artificial work on each frame, twice what 25 frames a second leave
PLAIN_FRAMES = 150
SETTLE_S = 5.0  # not counted: models are loaded, the stream begins
REBOOTS = 20
SAMPLE_S = 1.0


def main() -> int:
    passes: dict[str, Callable[[Path, float], dict[str, Any]]] = {
        "age": one,
        "work": partial(one, work_s=WORK_S),
        "reconnects": reconnects,
        "cameras": four_cameras,
        "soak": soak,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passes", nargs="*", metavar="PASS", help=f"some of: {', '.join(passes)} (default: all)")
    parser.add_argument("--minutes", type=float, default=5.0, help="of each pass; the soak takes four times as long")
    args = parser.parse_args()
    if unknown := sorted(set(args.passes) - set(passes)):
        parser.error(f"no such pass: {', '.join(unknown)}; expected some of {', '.join(passes)}")
    from skimage.data import astronaut  # an extra that the tests of this module can skip without

    with tempfile.TemporaryDirectory() as folder:
        still = write_still(Path(folder) / "portrait.i420", in_720p(astronaut()[..., ::-1]))
        for name in args.passes or passes:
            print(json.dumps({name: passes[name](still, args.minutes * 60)}), flush=True)
    return 0


def one(still: Path, seconds: float, work_s: float = 0.0) -> dict[str, Any]:
    """One camera, 25 frames a second, with artificial work on each frame."""
    with one_camera(still) as server:
        ages = watched(Settings.model_validate({"source": {"uri": server.url()}}), seconds, work_s)
        return {"edge_app": by_camera(ages), "plain loop": spread(plain_loop(server.url(), work_s))}


def reconnects(still: Path, _seconds: float) -> dict[str, Any]:
    """The server is killed and started again; how long after its return a picture is there that is new."""
    seconds: list[float] = []
    after: list[dict[str, float]] = []
    settings = SourceSettings(reconnect_max_s=1.0)
    with one_camera(still) as server, FrameReader(parse_source(server.url()), settings) as reader:
        frames = iter(reader)
        next(frames)
        for number in range(1, REBOOTS + 1):
            server.kill()
            server.start()
            back_at = time.monotonic()
            next(frame for frame in frames if made_since(frame.image, back_at))
            seconds.append(time.monotonic() - back_at)
            next(frame for frame in frames if reader.stats()["reconnects"] >= number)  # counted at the next look
            after.append(resources(os.getpid()))
    return {
        "reconnects": len(seconds),
        "seconds": {"median": round(float(np.median(seconds)), 2), "max": round(max(seconds), 2)},
        "after the third": after[2],
        "after the last": after[-1],
    }


def four_cameras(still: Path, seconds: float) -> dict[str, Any]:
    """Four cameras in one process, 5 frames a second each."""
    with ExitStack() as stack:
        servers = [stack.enter_context(one_camera(still, fps=5)) for _ in range(4)]
        sources = [{"camera": f"camera {i}", "uri": server.url()} for i, server in enumerate(servers, 1)]
        return by_camera(watched(Settings.model_validate({"sources": sources}), seconds))


def soak(still: Path, seconds: float) -> dict[str, Any]:
    """The command itself, writing a video and events: what it holds, sampled while it runs."""
    rows: list[tuple[float, float]] = []
    outputs = ("--events", "events.jsonl", "--output", "video.mp4", "--summary", "summary.json")
    with one_camera(still) as server, tempfile.TemporaryDirectory() as folder:
        with Running(Path(folder), "run", server.url(), "--headless", *outputs) as command:
            start = time.monotonic()
            while command.process.poll() is None and (passed := time.monotonic() - start) < 4 * seconds:
                time.sleep(SAMPLE_S)
                if passed > 0.1 * seconds:  # memory that is taken once, at the start, is no growth
                    rows.append((passed / 60, resources(command.process.pid)["RSS MiB"]))
            if command.process.poll() is not None:
                raise SystemExit(f"error: the run ended by itself with {command.process.returncode}:\n{command.err}")
            code = command.finish(signal.SIGTERM)
        frames = json.loads((Path(folder) / "summary.json").read_text())["frames"]
    minutes, rss = np.array(rows).T
    return {
        "exit code": code,
        "minutes": round(float(minutes[-1]), 1),
        "frames": frames,
        "RSS MiB, first and last tenth": [round(float(part.mean()), 1) for part in np.array_split(rss, 10)[::9]],
        "slope, MiB per 10 minutes": round(10 * float(np.polyfit(minutes, rss, 1)[0]), 2),
    }


def one_camera(still: Path, fps: int = 25) -> AbstractContextManager[RtspServer]:
    return camera("1280x720", still=still, fps=fps)


def watched(settings: Settings, seconds: float, work_s: float = 0.0) -> dict[str, list[float]]:
    """Ages in seconds of the frames that a run wrote, by camera, in order."""
    ages: dict[str, list[float]] = defaultdict(list)
    counted_from = time.monotonic() + SETTLE_S

    def take(camera: str, result: FrameResult) -> None:
        if time.monotonic() > counted_from and (age := age_if_read(result.frame.image)) is not None:
            ages[camera].append(age)

    stop = threading.Event()
    alarm = threading.Timer(SETTLE_S + seconds, stop.set)
    alarm.start()
    try:
        with every_result(take), patch.object(run, "Analyzer", slowed(work_s)):
            run.run(settings, stop=stop)
    finally:
        alarm.cancel()
    return ages


def slowed(work_s: float) -> type[Analyzer]:
    class Slowed(Analyzer):
        def detect(self, image: Pixels) -> sv.Detections:
            time.sleep(work_s)
            return super().detect(image)

    return Slowed


def plain_loop(url: str, work_s: float) -> list[float]:
    """Ages in seconds of frames read, detected and classified one after the other, as most programs do it."""
    judge = SourceAnalyzer(Settings(), slowed(work_s)(Settings()))
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    ages = []
    for index in range(PLAIN_FRAMES):
        image = np.asarray(capture.read()[1], np.uint8)
        now = time.monotonic()
        judge.judge(judge.detect(Frame(as_picture(image), index, now, now, time.time())))
        if (age := age_if_read(image)) is not None:
            ages.append(age)
    capture.release()
    return ages


def resources(process: int) -> dict[str, float]:
    """What a process holds: threads, open files, resident memory."""
    return {**held(process), "RSS MiB": round((resident_bytes(process) or 0) / 2**20, 1)}


def by_camera(ages: dict[str, list[float]]) -> dict[str, Any]:
    return {name: spread(of_one) for name, of_one in ages.items()}


def spread(ages: list[float]) -> dict[str, Any]:
    """n, median, p95 and largest of ages, and the medians of their quarters in order, all in ms: is it flat?"""
    milliseconds = np.array(ages) * 1000
    quarters = [round(float(np.median(part))) for part in np.array_split(milliseconds, 4)]
    median, p95, largest = (round(float(v)) for v in np.percentile(milliseconds, (50, 95, 100)))
    return {"n": len(ages), "median": median, "p95": p95, "max": largest, "medians of quarters": quarters}


if __name__ == "__main__":
    raise SystemExit(main())

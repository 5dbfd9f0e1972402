"""What a run tells Prometheus, each metric by camera, and the server of /metrics, /healthz and /readyz."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_app.config.settings import MetricsSettings
from edge_app.errors import UsageError
from edge_app.monitor.http_server import HttpServer
from edge_app.monitor.status import CameraStatus, RunStatus

_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # upper bounds of the buckets
_FRAME_AGE_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)


class RunCollector(Collector):
    """The state of a run as metrics, read anew for every scrape."""

    def __init__(self, run: RunStatus) -> None:
        self._run = run

    def collect(self) -> Iterable[Metric]:
        if (rss := resident_bytes()) is not None:
            yield GaugeMetricFamily("edge_app_resident_memory_bytes", "Memory of the process in RAM (RSS).", rss)
        families: dict[str, Metric] = {}
        for camera, status in self._run.cameras.items():
            for metric in _of_camera(status):
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    family.add_sample(sample.name, {"camera": camera, **sample.labels}, sample.value)
        if self._run.events is not None:  # they belong to no camera
            errors = families.setdefault("edge_app_sink_errors", _sink_errors({}))
            for name, count in self._run.events.errors_by_output.items():
                errors.add_sample("edge_app_sink_errors_total", {"camera": "", "sink": name}, count)
            waiting = "Events that an output has not delivered yet."
            family = families["edge_app_events_waiting"] = GaugeMetricFamily(
                "edge_app_events_waiting", waiting, labels=["camera", "sink"]
            )
            for name, count in self._run.events.waiting.items():
                family.add_sample("edge_app_events_waiting", {"camera": "", "sink": name}, count)
        yield from families.values()


def _of_camera(camera: CameraStatus) -> Iterator[Metric]:
    yield GaugeMetricFamily("edge_app_source_connected", "1 while the source is open.", int(camera.connected))
    if camera.reader is None or camera.outputs is None:
        return
    stats, tally = camera.reader.stats(), camera.tally
    yield CounterMetricFamily("edge_app_frames_read", "Frames that the source gave.", stats["read"])
    yield CounterMetricFamily("edge_app_frames_finished", "Frames judged and written.", camera.frames)
    dropped = "Frames of a live source replaced by a newer one before they were judged."
    yield CounterMetricFamily("edge_app_frames_dropped", dropped, stats["dropped_frames"])
    yield CounterMetricFamily("edge_app_reconnects", "Times a lost source came back.", stats["reconnects"])
    yield _sink_errors(camera.outputs.errors_by_output)
    events = CounterMetricFamily("edge_app_events", "Events by type and label.", labels=["type", "label"])
    for (kind, label), count in [*tally.events_by_type.items()]:  # the camera goes on counting
        events.add_metric([kind, label], count)
    yield events
    changes = "Confirmed labels of persons: the first one of each, and every change."
    yield CounterMetricFamily("edge_app_label_changes", changes, sum(tally.label_changes.values()))
    persons = GaugeMetricFamily("edge_app_persons", "Persons of this run by their latest verdict.", labels=["verdict"])
    present = GaugeMetricFamily("edge_app_present", "Persons in view now by their verdict.", labels=["verdict"])
    for family, counts in ((persons, tally.verdicts), (present, tally.present)):
        for verdict, count in counts.items():
            family.add_metric([verdict], count)
        yield family
    yield GaugeMetricFamily("edge_app_fps", "Finished frames a second over the last 50.", camera.fps)
    if (age := camera.age_s) is not None:
        yield GaugeMetricFamily("edge_app_last_frame_age_seconds", "Age now of the newest finished frame.", age)


def _sink_errors(counts: Mapping[str, int]) -> CounterMetricFamily:
    errors = CounterMetricFamily("edge_app_sink_errors", "Failed writes of an output.", labels=["sink"])
    for name, count in counts.items():
        errors.add_metric([name], count)
    return errors


def _histograms(registry: CollectorRegistry) -> Callable[[str, str, float], None]:
    """Takes a camera, a stage or `frame_age`, and the milliseconds of one frame."""
    stages = Histogram(
        "edge_app_stage_seconds",
        "Time of a frame in each stage.",
        ["camera", "stage"],
        buckets=_STAGE_S,
        registry=registry,
    )
    ages = Histogram(
        "edge_app_frame_age_seconds",
        "Age of frames when finished.",
        ["camera"],
        buckets=_FRAME_AGE_S,
        registry=registry,
    )

    def observe(camera: str, name: str, milliseconds: float) -> None:
        child = ages.labels(camera) if name == "frame_age" else stages.labels(camera, name)
        child.observe(milliseconds / 1e3)

    return observe


def resident_bytes(process: int | str = "self") -> int | None:
    """RSS of a process, this one unless another is named by its id; None where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


class Exporter:
    """A context manager: serves from a daemon thread while inside.

    Args:
        settings: where to listen; `port` must not be None.
        run: its state; it is told what to do with the times of each frame.

    Raises (on construction):
        UsageError: nothing can listen on that host and port.
    """

    def __init__(self, settings: MetricsSettings, run: RunStatus) -> None:
        registry = CollectorRegistry()
        registry.register(RunCollector(run))
        run.observe(_histograms(registry))

        host, port = settings.host, settings.port
        assert port is not None
        try:
            self._server = HttpServer(host, port, lambda path: answer(path, registry, run))
        except (OSError, UnicodeError) as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise UsageError(
                f"metrics: cannot listen on {where} ({getattr(error, 'strerror', None) or error}): "
                "set another metrics.port, or null for no metrics server"
            ) from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


def answer(path: str, registry: CollectorRegistry, run: RunStatus) -> tuple[int, str, bytes]:
    """HTTP status, content type and body for a path."""
    plain = "text/plain; charset=utf-8"
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
    if path == "/healthz":
        return 200, plain, b"ok\n"
    if path == "/readyz":
        reason = run.not_ready()
        return (200, plain, b"ready\n") if reason is None else (503, plain, f"{reason}\n".encode())
    return 404, plain, b"try /metrics, /healthz or /readyz\n"

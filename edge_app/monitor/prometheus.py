"""What a run tells Prometheus, and the server of /metrics, /healthz and /readyz."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_app.config.settings import MetricsSettings
from edge_app.errors import UsageError
from edge_app.monitor.http_server import HttpServer
from edge_app.monitor.status import Fleet, Health

_QUANTILES = {"0.5": "median_ms", "0.95": "p95_ms"}


class RunCollector(Collector):
    """The state of a run as metrics, read anew for every scrape. `health` gives None until the source is open.

    Of several cameras every metric but the memory has the label `camera`.
    """

    def __init__(self, health: Callable[[], Health | Fleet | None]) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        health = self._health()
        if isinstance(health, Fleet):
            yield from _of_fleet(health)
        else:
            yield _source_connected(health)
        if (rss := resident_bytes()) is not None:
            yield _gauge("resident_memory_bytes", "Memory of the process that is in RAM (RSS).", rss)
        if isinstance(health, Health):
            yield from _of_run(health)


def _of_fleet(fleet: Fleet) -> Iterable[Metric]:
    families: dict[str, Metric] = {}
    for camera, health in fleet.cameras.items():
        for metric in (_source_connected(health), *(_of_run(health) if health else ())):
            family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {"camera": camera, **sample.labels}, sample.value)
    return families.values()


def _of_run(health: Health) -> Iterator[Metric]:
    stats, outputs = health.reader.stats(), health.outputs
    yield CounterMetricFamily("edge_app_frames_read", "Frames that the source gave.", stats["read"])
    yield CounterMetricFamily("edge_app_frames_finished", "Frames judged and written.", health.frames)
    dropped = "Frames of a live source replaced by a newer one before they were judged."
    yield CounterMetricFamily("edge_app_frames_dropped", dropped, stats["dropped_frames"])
    yield CounterMetricFamily("edge_app_reconnects", "Times a lost source came back.", stats["reconnects"])
    errors = CounterMetricFamily("edge_app_sink_errors", "Failed writes of an output.", labels=["sink"])
    for name, count in outputs.errors_by_sink.items():
        errors.add_metric([name], count)
    yield errors
    persons = GaugeMetricFamily("edge_app_persons", "Persons of this run by their latest verdict.", labels=["verdict"])
    for label, count in outputs.tally.verdicts.items():
        persons.add_metric([label], count)
    yield persons
    yield _gauge("fps", "Finished frames a second over the last 50.", health.fps)
    if (age := health.age_s) is not None:
        yield _gauge("last_frame_age_seconds", "Age now of the newest finished frame.", age)
    ages = Metric("edge_app_frame_age_seconds", "Age of frames when they were finished.", "summary")
    stages = Metric("edge_app_stage_seconds", "Time of a frame in each stage.", "summary")
    for name, values in health.metrics.summary().items():
        for quantile, key in _QUANTILES.items():
            seconds = values[key] / 1e3
            if name == "frame_age":
                ages.add_sample(ages.name, {"quantile": quantile}, seconds)
            else:
                stages.add_sample(stages.name, {"stage": name, "quantile": quantile}, seconds)
    yield ages
    yield stages


def _source_connected(health: Health | None) -> GaugeMetricFamily:
    connected = health is not None and health.reader.connected
    return _gauge("source_connected", "1 while the source is open.", int(connected))


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"edge_app_{name}", text, value)


def resident_bytes(process: int | str = "self") -> int | None:
    """RSS of a process, this one unless another is named by its id; None where the system does not tell."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return None


class Exporter:
    """A context manager: serves from a daemon thread while inside.

    Args:
        settings: where to listen; `port` must not be None.
        health: gives the state of the run, None until its source is open.

    Raises (on construction):
        UsageError: nothing can listen on that host and port.
    """

    def __init__(self, settings: MetricsSettings, health: Callable[[], Health | Fleet | None]) -> None:
        registry = CollectorRegistry()
        registry.register(RunCollector(health))

        host, port = settings.host, settings.port
        assert port is not None
        try:
            self._server = HttpServer(host, port, lambda path: answer(path, registry, health()))
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


def answer(path: str, registry: CollectorRegistry, health: Health | Fleet | None) -> tuple[int, str, bytes]:
    """HTTP status, content type and body for a path."""
    plain = "text/plain; charset=utf-8"
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
    if path == "/healthz":
        return 200, plain, b"ok\n"
    if path == "/readyz":
        reason = "the source is not open yet" if health is None else health.not_ready()
        return (200, plain, b"ready\n") if reason is None else (503, plain, f"{reason}\n".encode())
    return 404, plain, b"try /metrics, /healthz or /readyz\n"

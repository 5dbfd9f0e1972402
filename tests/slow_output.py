"""An event output as any other is added: a module, a section of settings, a line in the registry.

python -m tests.slow_output run SETTINGS          a run with it; SETTINGS is JSON
python -m tests.slow_output produce SETTINGS N    writes events numbered from the log's last one up to N
"""

import os
import sqlite3
import sys
import time
from pathlib import Path

from edge_app.config.settings import Section, Settings
from edge_app.outputs.event_outputs import EventOutputs
from edge_app.outputs.output import EventOutput
from edge_app.outputs.registry import EVENT_OUTPUTS
from edge_app.records import Event
from edge_app.runtime.run import run
from edge_app.runtime.shutdown import stop_on_signal


class SlowSettings(Section):
    path: Path
    delay_s: float = 0.05


class SettingsWithSlow(Settings):
    slow: SlowSettings | None = None


class SlowOutput(EventOutput):
    """Takes its time for each event, as a broker far away does, and appends it to a file."""

    name = "slow"

    def __init__(self, settings: SlowSettings) -> None:
        self._delay_s = settings.delay_s
        self._file = os.open(settings.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, event: Event) -> None:
        time.sleep(self._delay_s)
        os.write(self._file, event.to_json().encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)


def open_slow(settings: SettingsWithSlow) -> EventOutput:
    assert settings.slow is not None
    return SlowOutput(settings.slow)


def numbered(number: int) -> Event:
    moment = f"2026-01-01T00:00:00.{number % 1000:03}Z"
    box, size = (1.0, 2.0, 3.0, 4.0), (640, 480)
    return Event(
        "new", 1, f"{number:032x}", "door", moment, number, "mask", 0.9, 0.9, box, size, moment, None, 1, 5.0
    )  # fmt: skip


def produce(settings: SettingsWithSlow, count: int) -> None:
    with EventOutputs(settings) as outputs:
        assert settings.store.path is not None
        log = sqlite3.connect(settings.store.path)
        (first,) = log.execute("SELECT ifnull(max(seq), 0) FROM events").fetchone()
        log.close()
        for number in range(first, count):
            outputs.write([numbered(number)])


if __name__ == "__main__":
    command, text, *more = sys.argv[1:]
    EVENT_OUTPUTS["slow"] = "tests.slow_output:open_slow"
    wanted = SettingsWithSlow.model_validate_json(text)
    if command == "produce":
        produce(wanted, int(more[0]))
    else:
        with stop_on_signal() as (stop, _):
            run(wanted, stop=stop)

"""Every error a user can meet, and the exit code it ends the program with.

    EdgeAppError                1   anything below; never raised itself
    ├── UsageError              2   a wrong argument, or a setting with an unknown key, type or range
    ├── ModelError              3   a model file missing, altered, or with other tensors; no such provider
    ├── SourceError             4   a camera, stream, video or picture that cannot be opened or decoded
    ├── SinkError               5   an output that cannot be written
    └── WatchdogError           6   a run without frames for longer than `watchdog` allows

A message is one line: it names the file, key or URL (credentials redacted), says what was expected and what
to do. 130 is an interrupted run, as shells have it.
"""

from edge_app.redact import redact


class EdgeAppError(Exception):
    """Text is `detail: advice`, credentials masked.

    Args:
        detail: names the thing, and says what is wrong with it and what was expected.
        advice: what to do.
    """

    exit_code = 1

    def __init__(self, detail: str = "", advice: str = "") -> None:
        super().__init__(f"{detail}: {advice}" if advice else detail)
        self._detail, self._advice = detail, advice

    @property
    def detail(self) -> str:
        return redact(self._detail)

    @property
    def advice(self) -> str:
        return redact(self._advice)

    def __str__(self) -> str:
        return redact(super().__str__())


class UsageError(EdgeAppError):
    exit_code = 2


class ModelError(EdgeAppError):
    exit_code = 3


class SourceError(EdgeAppError):
    exit_code = 4


class StoppedEarly(SourceError):
    """A stop was asked for before the source had opened; the command line ends as after any other stop."""


class SinkError(EdgeAppError):
    exit_code = 5


class WatchdogError(EdgeAppError):
    exit_code = 6


INTERRUPTED = 130


def first_line(error: BaseException) -> str:
    """What an error of a library says, cut to one line; its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

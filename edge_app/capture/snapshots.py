"""Pictures at a URL that are fetched again and again: takes a `SourceSpec`, gives a live `Source`."""

import time
from collections.abc import Callable

from edge_app.capture import web
from edge_app.capture.images import decode_image
from edge_app.capture.probe import check_reachable
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError, first_line
from edge_app.records import Pixels
from edge_app.redact import redact

MAX_BYTES = 32 << 20  # of a picture; a camera's snapshot has some 100 kB


class SnapshotSource(Source):
    """A camera whose picture is fetched every `settings.every` seconds; a picture that stays the same is a frame too.

    Args:
        spec: with an http or https URL; its login may be asked for as Basic or Digest.
        settings: `every`, and the time-outs: of the first picture, and of each later one.
        clock: monotonic seconds.

    Raises:
        SourceError: no picture, one that is too large, or none in time.
    """

    def __init__(
        self,
        spec: SourceSpec,
        settings: SourceSettings,
        clock: Callable[[], float] = lambda: time.monotonic(),
    ) -> None:
        assert settings.every is not None
        if not spec.uri.startswith("http"):
            raise SourceError(f"{spec.display}: source.every is for pictures at http:// and https:// URLs")
        self._spec, self._every, self._timeout_s, self._clock = spec, settings.every, settings.read_timeout_s, clock
        self._due = clock()
        deadline = self._due + settings.open_timeout_s
        check_reachable(spec.uri, settings.open_timeout_s)
        self._first: tuple[Pixels, float] | None = self._fetch(max(0.1, deadline - clock()))
        height, width = self._first[0].shape[:2]
        self.info = SourceInfo(spec.display, spec.kind, True, width, height, 1 / self._every, None)

    def pause_s(self) -> float:
        return 0.0 if self._first is not None else self._due - self._clock()

    def read(self) -> tuple[Pixels, float] | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return self._fetch(self._timeout_s)

    def close(self) -> None:
        self._first = None

    def _fetch(self, timeout_s: float) -> tuple[Pixels, float]:
        now, shown = self._clock(), self._spec.display
        self._due = max(self._due + self._every, now)  # at a steady rate, and what was missed is not made up for
        try:
            answer = web.get(self._spec.uri, timeout_s, MAX_BYTES + 1)
        except Exception as error:  # urllib and http.client raise many types for what a server can do wrong
            raise SourceError(f"{shown}: no picture: {first_line(error)}") from None
        if answer.status[:1] != "2":
            if answer.status.startswith("401"):
                raise SourceError(f"{shown}: the server refuses the user name or password (401)")
            moved = f", to {redact(answer.moved)}: give that address" if answer.moved else ""
            raise SourceError(f"{shown}: no picture: {answer.status}{moved}")
        if len(answer.content) > MAX_BYTES:
            raise SourceError(
                f"{shown}: no picture: more than {MAX_BYTES >> 20} MiB; source.every is for pictures alone"
            )
        return decode_image(answer.content, shown), self._clock()

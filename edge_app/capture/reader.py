"""Reads a source in a thread of its own: takes a `SourceSpec`, gives `Frame`s to iterate over.

A file hands over every frame in order, decoded a little ahead. A live source keeps only its newest frame, so that
latency does not grow with a slow consumer; it is reopened, without limit, when it is lost. A driver can hang in `open`
or `read` when a camera goes away, therefore nothing here waits for such a thread: it is abandoned and replaced.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

from edge_app.capture.handover import PATIENT, Connection, Mailbox, Patience
from edge_app.capture.open import open_source
from edge_app.capture.source import Source, SourceInfo, SourceSpec
from edge_app.clock import Awake, Backoff
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError, StoppedEarly
from edge_app.planes import Picture, Pixels, as_picture
from edge_app.records import Frame
from edge_app.redact import redact

log = logging.getLogger(__name__)

GOOD_STRETCH_S = 10.0  # a connection that lasted this long was sound: the next reconnect starts without delay
MAX_ABANDONED = 4  # hung threads at a time; each holds a decoder's memory
_LATE_S = 1.0  # a wake-up this late means that this process was suspended, and nothing about the source


class FrameReader:
    """Iterates over the frames of a source. A context manager: entering opens the source.

    Args:
        spec: what to open.
        settings: timeouts, reconnecting and `max_fps`.
        opener: opens the source; another one may stand in for hardware.
        on_refused: called for each failed attempt to open a live source for the first time. With it the caller decides
            when to give up, `settings.wait_s` is ignored, and warnings name the camera, as it is one of several.
        patience: with what hangs.
        clock: monotonic seconds.

    Raises (on entering):
        StoppedEarly: `stop` was called before a live source had opened.
        SourceError: the source cannot be opened, a live one not within `settings.wait_s` either. Later losses of a
            live source are reconnected instead, unless `settings.reconnect` is off: then the iteration ends, or
            raises where the source failed or stalled.
    """

    def __init__(
        self,
        spec: SourceSpec,
        settings: SourceSettings,
        *,
        opener: Callable[[SourceSpec, SourceSettings], Source] = open_source,
        on_refused: Callable[[SourceError], None] | None = None,
        patience: Patience = PATIENT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec, self._settings, self._patience, self._clock = spec, settings, patience, clock
        self._opener, self._on_refused = opener, on_refused
        self._whose = f"{settings.camera}: " if on_refused else ""
        self._mailbox = Mailbox()
        self._stopping = threading.Event()
        self._backoff = Backoff(settings.reconnect_min_s, settings.reconnect_max_s)
        self._lock = threading.Lock()
        self._current: Connection | None = None
        self._abandoned: list[Connection] = []
        self._supervisor: threading.Thread | None = None
        self._info: SourceInfo | None = None
        self._index = 0
        self._due = -math.inf  # monotonic seconds from which the next live frame may be taken (max_fps)
        self._started_at = 0.0  # wall time of media time 0
        self._media_time = 0.0  # of the last frame
        self._delivered = self._reconnects = 0
        self.newest_index = -1  # of the frames that were handed over; replaced ones included
        self.last_read_at: float | None = None  # monotonic seconds of the last frame that the source gave

    @property
    def info(self) -> SourceInfo:
        """Of the first connection; only inside the context."""
        if self._info is None:
            raise RuntimeError("enter the FrameReader before asking for its info")
        return self._info

    @property
    def stopped(self) -> bool:
        return self._stopping.is_set()

    @property
    def connected(self) -> bool:
        """Whether the source is open now."""
        now = self._current
        return now is not None and now.info is not None and not (now.abandoned or now.ended.is_set())

    def stats(self) -> dict[str, int]:
        """read: decoded; frames: delivered; dropped_frames: replaced by a newer one; reconnects: returns."""
        return {
            "read": self._index,
            "frames": self._delivered,
            "dropped_frames": self._mailbox.replaced,
            "reconnects": self._reconnects,
        }

    def __enter__(self) -> Self:
        self._started_at = time.time()
        try:
            first, self._info = self._connect_first()
        except BaseException:
            self.close()
            raise
        self._supervisor = threading.Thread(target=self._supervise, args=(first,), name="capture-watch", daemon=True)
        self._supervisor.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._mailbox.get()) is not None:
            self._delivered += 1
            yield frame

    def stop(self) -> None:
        """End the iteration now and discard undelivered frames; from any thread or a signal handler."""
        self._stopping.set()
        self._mailbox.close(discard=True)

    def close(self) -> None:
        """Stop, and give the threads a moment to release the source. One that hangs is abandoned."""
        self.stop()
        connection = self._current
        if connection is not None:
            connection.abandon()
        if self._supervisor is not None:
            self._supervisor.join(self._patience.join_s)
        if connection is not None and connection.thread.is_alive():
            connection.thread.join(self._patience.join_s)

    def _connect_first(self) -> tuple[Connection, SourceInfo]:
        """Open the source; a live one is retried for `wait_s`, as a camera may start later."""
        wait_s = self._settings.wait_s if self._on_refused is None else math.inf
        give_up = self._clock() + (wait_s if self._spec.live else 0.0)
        told = False
        while True:
            connection = self._connect()
            try:
                info = self._opened(connection)
            except StoppedEarly:
                raise
            except SourceError as error:
                if not self._spec.live:
                    raise
                if self._stopping.is_set():
                    raise self._stopped_early() from None
                if self._clock() >= give_up:
                    if not wait_s:
                        raise
                    raise SourceError(f"{error} (given up after source.wait_s = {wait_s:g} s)") from None
                if self._on_refused is not None:
                    self._on_refused(error)
                log.log(logging.DEBUG if told else logging.WARNING, "%s%s; trying again", self._whose, error)
                told = True
            else:
                self._backoff.reset()
                return connection, info
            self._abandon(connection)
            pause = min(self._backoff.next(), max(0.0, give_up - self._clock()))
            if self._stopping.wait(pause) or not self._wait_for_room():
                raise self._stopped_early()

    def _opened(self, connection: Connection) -> SourceInfo:
        name, timeout, awake = self._spec.display, self._settings.open_timeout_s, Awake(_LATE_S, self._clock)
        stopped_at: float | None = None
        while not connection.opened.wait(self._patience.poll_s):  # short waits, so that Ctrl-C is handled
            if self._stopping.is_set():
                stopped_at = stopped_at or self._clock()
                # A file opens soon, and then its outputs are complete; not a pipe whose writer is silent.
                if self._spec.live or self._clock() - stopped_at >= self._patience.join_s:
                    raise self._stopped_early()
            if self._clock() - max(connection.opened_at, awake.since()) > timeout + self._patience.open_grace_s:
                raise SourceError(f"{name}: did not open within {timeout:g} s")
        if connection.info is None:
            raise connection.error or SourceError(f"{name}: cannot be opened")
        return connection.info

    def _stopped_early(self) -> StoppedEarly:
        return StoppedEarly(f"{self._spec.display}: stopped before it opened")

    def _connect(self) -> Connection:
        self._current = Connection(lambda: self._opener(self._spec, self._settings), self._deliver, self._clock)
        return self._current

    def _deliver(self, connection: Connection, image: Picture | Pixels, media_time: float) -> None:
        if self._stopping.is_set() or connection.info is None:
            connection.abandon()
            return
        captured_at, picture = self._clock(), as_picture(image)
        if self._info is not None and self._info.live and not connection.info.live:
            connection.abandon()  # a recording of what was live, such as an HLS stream that has ended
            return
        if not connection.info.live:
            if not media_time >= self._media_time:  # backwards, or NaN
                media_time = self._media_time + 1 / (connection.info.fps or 25.0)
            self._media_time = media_time
            frame = Frame(picture, self._index, media_time, captured_at, self._started_at + media_time)
            self._index += 1
            self.newest_index, self.last_read_at = frame.index, captured_at
            self._mailbox.put(frame, newest_only=False)
            return
        with self._lock:  # an abandoned thread may wake up beside its successor
            if connection.abandoned:
                return
            index, self._index = self._index, self._index + 1
            self.last_read_at = captured_at
            if self._is_due(captured_at):
                self.newest_index = index
                # Later than now it cannot be, nor before the last one, which another connection may have given.
                self._media_time = max(min(media_time, captured_at), self._media_time)
                self._mailbox.put(Frame(picture, index, self._media_time, captured_at, time.time()), newest_only=True)

    def _is_due(self, now: float) -> bool:
        if self._settings.max_fps is None:
            return True
        if now < self._due:
            return False
        period = 1 / self._settings.max_fps
        # From the time it was due, not from now: else 10 of 25 a second would become 8.3.
        self._due = self._due + period if now - self._due < period else now + period
        return True

    def _supervise(self, connection: Connection) -> None:
        """Whatever fails here, the consumer must not wait for frames for ever."""
        try:
            if self.info.live:
                self._watch_live(connection)
            else:
                self._watch_file(connection)
        except Exception as error:
            self._mailbox.close(error)

    def _watch_file(self, connection: Connection) -> None:
        connection.ended.wait()
        self._mailbox.close(connection.error)

    def _watch_live(self, connection: Connection) -> None:
        lost_at, attempts = 0.0, 0
        while True:
            reason = self._wait_until_lost(connection, reopening=attempts > 0, lost_at=lost_at, attempts=attempts)
            if reason is None:
                return
            if not self._settings.reconnect:
                ended = connection.ended.is_set() and connection.error is None
                self._mailbox.close(None if ended else SourceError(reason))
                return
            if connection.frames and connection.info and connection.info.live:  # it was up: this is a new loss
                if connection.active_at - connection.opened_at >= GOOD_STRETCH_S:
                    self._backoff.reset()
                lost_at, attempts = connection.active_at, 0
                log.warning("%s%s; reconnecting", self._whose, reason)
            else:
                log.debug("%s%s", self._whose, reason)
            attempts += 1
            self._abandon(connection)
            if self._stopping.wait(self._backoff.next()) or not self._wait_for_room():
                return
            connection = self._connect()
            if self._stopping.is_set():  # close() may not have seen this one
                connection.abandon()
                return

    def _wait_until_lost(self, connection: Connection, reopening: bool, lost_at: float, attempts: int) -> str | None:
        """The reason why the connection was lost; None when stopping."""
        name, settings, awake = self._spec.display, self._settings, Awake(_LATE_S, self._clock)
        while not self._stopping.is_set():
            ended = connection.ended.wait(self._patience.poll_s)
            if self._stopping.is_set():
                return None
            if connection.info is not None and not connection.info.live:
                return f"{name}: it has ended, and only its recording is there"
            if reopening and connection.frames:
                reopening = False
                self._reconnects += 1
                away_s = self._clock() - lost_at
                log.warning("%s%s: back after %.1f s (attempt %d)", self._whose, name, away_s, attempts)
            if ended:
                return redact(str(connection.error)) if connection.error else f"{name}: the stream ended"
            silent = self._clock() - max(connection.active_at, awake.since())
            if connection.info is None and silent > settings.open_timeout_s + self._patience.open_grace_s:
                return f"{name}: did not open within {settings.open_timeout_s:g} s"
            if connection.info is not None and silent > settings.stall_timeout_s:
                return f"{name}: no frame for {settings.stall_timeout_s:g} s"
        return None

    def _abandon(self, connection: Connection) -> None:
        with self._lock:
            connection.abandon()
        self._abandoned = [c for c in (*self._abandoned, connection) if c.thread.is_alive()]

    def _wait_for_room(self) -> bool:
        """Hold reconnecting while too many abandoned threads still hang; False when stopping."""
        told = False
        while len(self._abandoned) >= MAX_ABANDONED:
            if not told:
                name = f"{self._whose}{self._spec.display}"
                log.warning("%s: %d reads hang; waiting for one to return", name, len(self._abandoned))
                told = True
            if self._stopping.wait(self._patience.room_s):
                return False
            self._abandoned = [c for c in self._abandoned if c.thread.is_alive()]
        return True

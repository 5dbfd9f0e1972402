"""The parts of capturing: the hand-over between threads, and one connection to a source."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_app.capture.source import Source, SourceInfo
from edge_app.errors import SourceError
from edge_app.planes import Picture, Pixels
from edge_app.records import Frame

AHEAD = 2  # frames of a file decoded before they are asked for; a 1080p frame takes 6 MB
POLL_S = 0.2


@dataclass(frozen=True)
class Patience:
    """How long a reader waits for what does not come, seconds."""

    poll_s: float = POLL_S  # between two looks at a source, so that Ctrl-C is handled
    join_s: float = 2.0  # for each thread, on closing
    open_grace_s: float = 5.0  # time beyond open_timeout_s for the diagnosis of a failed open
    room_s: float = 1.0  # between two looks whether a thread that hangs has returned


PATIENT = Patience()


class Mailbox:
    """Hands frames from one thread to another: bounded and in order, or only the newest."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler may call close() in the thread that is inside get().
        self._changed = threading.Condition(threading.RLock())
        self._frames: deque[Frame] = deque()
        self._closed = False
        self._error: Exception | None = None
        self.replaced = 0

    def put(self, frame: Frame, newest_only: bool) -> None:
        with self._changed:
            if newest_only:
                self.replaced += len(self._frames)
                self._frames.clear()
            while len(self._frames) >= AHEAD and not self._closed:
                self._changed.wait(POLL_S)
            if not self._closed:
                self._frames.append(frame)
                self._changed.notify_all()

    def get(self) -> Frame | None:
        """The next frame, waiting for it; None once closed and empty. Raises the error it was closed with."""
        with self._changed:
            while not self._frames and not self._closed:
                self._changed.wait(POLL_S)  # not for ever: a signal handler's notify can come just before the wait
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._error is not None:
                raise self._error
            return None

    def close(self, error: Exception | None = None, discard: bool = False) -> None:
        with self._changed:
            if discard:
                self._frames.clear()
            if not self._closed:
                self._closed, self._error = True, error
            self._changed.notify_all()


class Connection:
    """One connection to a source, in a daemon thread: opened, read to its end or loss, closed by that thread."""

    def __init__(
        self,
        opener: Callable[[], Source],
        deliver: Callable[["Connection", Picture | Pixels, float], None],
        clock: Callable[[], float],
    ) -> None:
        self._opener, self._deliver, self._clock = opener, deliver, clock
        self.info: SourceInfo | None = None
        self.error: Exception | None = None
        self.opened_at = self.active_at = clock()
        self.frames = 0
        self.opened, self.ended, self._abandoned = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, name="capture", daemon=True)
        try:
            self.thread.start()
        except RuntimeError as error:  # out of threads, which is temporary
            self.error = SourceError(f"no thread to read in ({error})")
            self.ended.set()
            self.opened.set()

    @property
    def abandoned(self) -> bool:
        return self._abandoned.is_set()

    def abandon(self) -> None:
        """Nobody wants further frames: end, as soon as a read that is going on returns."""
        self._abandoned.set()

    def _run(self) -> None:
        try:
            with self._opener() as source:
                self.info = source.info
                self.opened_at = self.active_at = self._clock()
                self.opened.set()
                while self._wait(source.pause_s()) and (frame := source.read()) is not None:
                    picture, moment = frame
                    if self.info.live and not self._wait(moment - self._clock()):
                        return
                    self.active_at = self._clock()
                    self.frames += 1
                    self._deliver(self, picture, moment)
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()
            self.opened.set()

    def _wait(self, seconds: float) -> bool:
        """Until a frame's time has come; False where it is not wanted any more. The source is not to blame."""
        if seconds > 0:
            self.active_at = self._clock() + seconds
            self._abandoned.wait(seconds)
        return not self.abandoned

"""The types of a source: its parsed text, its properties once it is open, and the protocol to read frames."""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

from edge_app.planes import Picture, Pixels

Kind = Literal["camera", "file", "images", "stream", "csi", "gstreamer", "demo"]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source as requested. uri may hold credentials; only `display` may be shown. live: unread frames are lost."""

    kind: Kind
    uri: str
    display: str
    live: bool

    def __repr__(self) -> str:
        return f"SourceSpec({self.kind}, {self.display})"


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A source as opened. width, height: pixels of the first frame; fps, frame_count: None where unknown."""

    display: str
    kind: Kind
    live: bool
    width: int
    height: int
    fps: float | None
    frame_count: int | None


class Source(Protocol):
    """An opened source, a context manager. Only one thread may use it, and that thread closes it."""

    info: SourceInfo

    def read(self) -> tuple[Picture | Pixels, float] | None:
        """The next frame, a picture or uint8 (H, W, 3) BGR, and its time; None at the end.

        The time of a file is media time in seconds, never decreasing; that of a live source is in monotonic seconds,
        and whoever reads waits where it lies ahead.

        Raises:
            SourceError: nothing can be decoded.
        """
        ...

    def pause_s(self) -> float:
        """For how long `read` is better not called yet, seconds: what is waited for then is none of its doing."""
        return 0.0

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

"""Opens files that people name: takes a path, gives an open regular file or pipe, or one clear `SourceError`."""

import os
import select
import stat
import time
from pathlib import Path
from typing import BinaryIO

from edge_app.errors import SourceError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
}


def open_regular(path: str, shown: str, *, pipes: bool = False) -> BinaryIO:
    """Open for reading; nothing is read, and nothing is waited for.

    Args:
        path: of any name the system takes.
        shown: what messages call it.
        pipes: whether a pipe is taken too.

    Raises:
        SourceError: missing, not readable, empty, or no regular file.
    """
    try:
        status = Path(path).stat()  # before it is opened: some devices act on that alone
        kind = stat.S_IFMT(status.st_mode)
        if kind != stat.S_IFREG and not (pipes and kind == stat.S_IFIFO):
            raise SourceError(f"{shown}: {_KINDS.get(kind, 'something else')}, not a regular file")
        if kind == stat.S_IFREG and not status.st_size:
            raise SourceError(f"{shown}: the file is empty")
        # Without O_NONBLOCK, opening a named pipe would block until it has a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceError(f"{shown}: no such file") from None
    except OSError as error:
        raise SourceError(f"{shown}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise SourceError(f"{shown}: not a file name") from None
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def is_pipe(file: BinaryIO) -> bool:
    return stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)


def wait_for_data(pipe: BinaryIO, shown: str, timeout_s: float) -> None:
    """Wait until something can be read from a pipe, and leave it there.

    Raises:
        SourceError: nothing within `timeout_s` seconds, or the writer has gone without a word.
    """
    waiting, deadline = select.poll(), time.monotonic() + timeout_s
    waiting.register(pipe, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        events = [event for _, event in waiting.poll(min(left, 0.5) * 1000)]
        if any(event & select.POLLIN for event in events):
            return
        if events:
            raise SourceError(f"{shown}: the pipe is empty: its writer has gone")
    raise SourceError(f"{shown}: nothing came through this pipe within {timeout_s:g} s: does anything write to it?")

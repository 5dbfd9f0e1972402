"""Files that are written without destroying any other: exclusive creation, names that are free, whole replacement.

Everything raises plain `OSError`; who calls says which output it was. New files are private until their mode is set.
"""

import contextlib
import errno
import os
import re
import secrets
import select
import stat
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

PRIVATE = 0o600  # these files say who was where
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STREAM = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NAME_BYTES = 255  # as Linux and most disks have it
WAIT_S = 5.0  # how long a pipe that nobody reads is waited for
_READ_ONLY_FOLDER = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY)


def make_parents(path: Path) -> None:
    """Make the folders above a file, with the modes that the umask gives."""
    path.parent.mkdir(parents=True, exist_ok=True)


def create(path: Path, mode: int = PRIVATE) -> int:
    """A new file, open for reading and writing; never one that was there, nor what a link points to."""
    file = os.open(path, _NEW, PRIVATE & mode)
    if mode != PRIVATE:
        set_mode(file, mode)
    return file


def numbered(path: Path, number: int, joint: str) -> Path:
    """`name.mp4`, `name-2.mp4`, `name-3.mp4`, …; a stem that leaves no room for the number is cut."""
    if number == 1:
        return path
    stem, end = path.stem, f"{joint}{number}{path.suffix}"
    while len(stem) > 1 and len(os.fsencode(stem + end)) > _NAME_BYTES:
        stem = stem[:-1]
    return path.with_name(stem + end)


def create_free(path: Path, mode: int = PRIVATE, first: int = 1, joint: str = "-") -> tuple[int, Path, int]:
    """A new file under the first free name from the number `first` on: the open file, its path, its number."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    for number in count(first):
        name = numbered(path, number, joint)
        with contextlib.suppress(FileExistsError):
            return create(name, mode), name, number
    raise AssertionError


def open_to_append(path: Path, mode: int = PRIVATE) -> int:
    """A file for appending, made where it is missing; an existing one keeps its mode. Never waits.

    A pipe without a reader is an `OSError` with ENXIO.
    """
    if (stream := own_stream(path)) is not None:
        return os.dup(stream)
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, _STREAM | os.O_APPEND)
    make_parents(path)
    real = os.path.realpath(path)  # a link may point to a file that is not there yet
    try:
        file = os.open(real, _STREAM | os.O_APPEND | os.O_CREAT | os.O_EXCL, PRIVATE & mode)
    except FileExistsError:  # somebody made it just now
        return os.open(real, _STREAM | os.O_APPEND)
    if mode != PRIVATE:
        set_mode(file, mode)
    return file


def own_stream(path: Path) -> int | None:
    """1 or 2 where `path` is the regular file or the socket that our standard output or error goes into.

    Such a file, opened again, would be written over by whoever has it open already; a socket cannot be opened.
    """
    for stream in (1, 2):
        with contextlib.suppress(OSError):  # nothing there, or a closed stream
            info = path.stat()
            plain = stat.S_ISREG(info.st_mode) or stat.S_ISSOCK(info.st_mode)
            if plain and os.path.samestat(info, os.fstat(stream)):
                return stream
    return None


# --- whole replacement --------------------------------------------------------------------------------------------


def check_replaceable(path: Path) -> None:
    """Raises what `replace` would, as far as that can be known without changing anything."""
    info = look(path)
    if info is not None and stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if info is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if info is not None and not stat.S_ISREG(info.st_mode):
        return
    real = Path(os.path.realpath(path))
    make_parents(real)
    try:
        with _temporary(real.parent) as (_, name):
            name.unlink()
    except OSError as error:
        if info is None or error.errno not in _READ_ONLY_FOLDER:
            raise


def replace(path: Path, data: bytes, mode: int = PRIVATE, follow: bool = True, wait_s: float = WAIT_S) -> None:
    """Write a file whole or not at all; one that is there keeps its mode. Pipes and devices are written directly.

    follow: replace what a link points to; False: the link itself. wait_s: how long a pipe or device may take nothing.
    """
    info = look(path, follow)
    if follow and (stream := own_stream(path)) is not None:
        write_all(stream, data)
        return
    if follow and info is not None and not stat.S_ISREG(info.st_mode):
        _to_stream(path, data, wait_s)
        return
    real = Path(os.path.realpath(path)) if follow else path
    make_parents(real)
    try:
        with _temporary(real.parent) as (file, name):
            write_all(file, data)
            like(file, info if info is not None and stat.S_ISREG(info.st_mode) else None, mode)
            os.fsync(file)  # or else a power failure may leave the new name with nothing in it
            os.replace(name, real)  # noqa: PTH105
    except OSError as error:
        if info is None or not follow or error.errno not in _READ_ONLY_FOLDER:
            raise
        real.write_bytes(data)  # nothing can be put beside it, as with a single file mounted into a container


def write_new(path: Path, data: bytes, mode: int = PRIVATE, overwrite: bool = False, joint: str = "-") -> Path:
    """Write a file whole under a free name, or in place of the old one; gives the name. A link is never followed.

    overwrite: replace a regular file or a link of that name.
    """
    make_parents(path)
    there = look(path, follow=False)
    if overwrite and there is not None and (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
        replace(path, data, mode, follow=False)
        return path
    file, name, _ = create_free(path, mode, joint=joint)
    try:
        write_all(file, data)
    except OSError:
        name.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return name


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[int, Path]]:
    """A new file whose name nobody can guess; gone afterwards unless it was renamed."""
    name = unguessable(folder)
    file = create(name)
    try:
        yield file, name
    finally:
        os.close(file)
        name.unlink(missing_ok=True)


def unguessable(folder: Path) -> Path:
    """A name for a file that is not complete."""
    return folder / f".edge_app-{secrets.token_hex(8)}.part"


def like(file: int, old: os.stat_result | None, mode: int) -> None:
    """Give a new file the owner and mode of the one it replaces, or else `mode`."""
    if old is not None:
        with contextlib.suppress(OSError):  # only root may give files away
            os.fchown(file, old.st_uid, old.st_gid)
    set_mode(file, mode if old is None else stat.S_IMODE(old.st_mode))


def set_mode(file: int, mode: int) -> None:
    """As far as the disk can."""
    with contextlib.suppress(OSError):  # a FAT or network disk may know no modes
        os.fchmod(file, mode)


def look(path: Path, follow: bool = True) -> os.stat_result | None:
    """None where nothing has this name."""
    try:
        return path.stat(follow_symlinks=follow)
    except FileNotFoundError:
        return None


def write_all(file: int, data: bytes) -> None:
    """A system call may take a part of it."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _to_stream(path: Path, data: bytes, wait_s: float) -> None:
    """Write into a pipe or device; one that takes nothing is given up after a time."""
    rest, file = memoryview(data), _open_stream(path, wait_s)
    deadline = time.monotonic() + wait_s
    try:
        while rest:
            try:
                rest = rest[os.write(file, rest) :]
                deadline = time.monotonic() + wait_s
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise BlockingIOError(errno.EAGAIN, f"nobody has read it for {wait_s:g} s") from None
                select.select([], [file], [], left)
    finally:
        os.close(file)


def _open_stream(path: Path, wait_s: float) -> int:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return os.open(path, _STREAM)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() >= deadline:
                raise OSError(errno.ENXIO, f"nobody has read it for {wait_s:g} s") from None
        time.sleep(0.05)


# --- names --------------------------------------------------------------------------------------------------------


def video_path(path: Path, camera: str) -> Path:
    """`out.mp4` of the camera `door` is `out-door.mp4`; what does not belong into a file name becomes `_`."""
    return path.with_stem(f"{path.stem}-{in_file_name(camera)}")


def in_file_name(camera: str) -> str:
    return re.sub(r"[^\w.-]", "_", camera)

"""Files that grow while a run lasts: locked against other writers, nameless until they are worth a name."""

import contextlib
import errno
import fcntl
import io
import os
import stat
from pathlib import Path
from typing import Any

from edge_app.outputs import files


class Recording(io.FileIO):
    """A new file for a recording, locked against other writers. Each write is whole or an error.

    It has no name until `settle`, so a kill before leaves nothing. path: its name from then on. number: of that name,
    see `numbered`.

    Args:
        path: the name wished for; another from `first` on is taken where it is not free.
        overwrite: replace what has this name. A file that another run is writing, and anything but a regular file,
            is left as it is.
    """

    def __init__(self, path: Path, mode: int = files.PRIVATE, overwrite: bool = False, first: int = 1) -> None:
        files.make_parents(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self.path: Path | None = None
        self.number = first
        self._wanted, self._mode = path, mode
        self._overwrite = overwrite and first == 1 and path.is_file()
        # Renaming needs one disk: that of the file which a link leads to.
        self._folder = Path(os.path.realpath(path)).parent if self._overwrite else path.parent
        file, self._name = _nameless(self._folder)
        _lock(file)
        super().__init__(file, "r+b")

    def write(self, data: Any) -> int:
        files.write_all(self.fileno(), data)  # FFmpeg does not ask how much of it was taken
        return len(data)

    @property
    def removed(self) -> bool:
        """Whether it has been given a name and has none any more."""
        return self.path is not None and os.fstat(self.fileno()).st_nlink == 0

    def settle(self) -> None:
        """The recording is worth a name: take it, and the old one goes."""
        if self.path is not None:
            return
        if self._name is None:
            self._name = files.unguessable(self._folder)
            # With a folder given, Python follows the link that leads to the open file.
            os.link(f"/proc/self/fd/{self.fileno()}", self._name, src_dir_fd=self.fileno(), follow_symlinks=True)
        if not (self._overwrite and self._replace_old(self._name)):
            file, name, self.number = files.create_free(self._wanted, self._mode, self.number)
            os.close(file)
            files.set_mode(self.fileno(), self._mode)
            os.replace(self._name, name)  # noqa: PTH105
            self.path = name
        self._name = None

    def _replace_old(self, name: Path) -> bool:
        """Take the place of the old recording, if that may go."""
        real = Path(os.path.realpath(self._wanted))
        while (old := _lock_old(real)) is not None:
            try:
                if not _is_at(old, real):
                    continue  # another run has just replaced it
                files.like(self.fileno(), os.fstat(old), self._mode)
                os.replace(name, real)  # noqa: PTH105
                self.path = self._wanted
                return True
            except PermissionError:  # another user's, in a folder for all
                return False
            finally:
                os.close(old)
        return False

    def discard(self) -> None:
        """Close it and remove it, if its name is still its own."""
        name = self._name or self.path
        with contextlib.suppress(OSError):
            if name is not None and _is_at(self.fileno(), name):
                name.unlink()
        self.close()


def _nameless(folder: Path) -> tuple[int, Path | None]:
    """A new file without a name; on a disk or system that has no such files, with one that nobody can guess."""
    if hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, files.PRIVATE), None
    name = files.unguessable(folder)
    return files.create(name), name


def _is_at(file: int, path: Path) -> bool:
    there = files.look(path, follow=False)
    return there is not None and os.path.samestat(os.fstat(file), there)


def _lock(file: int) -> bool:
    """Whether nobody else holds it. A disk that knows no locks holds nobody up."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _lock_old(path: Path) -> int | None:
    """The file of this name, locked; None where it must stay: another run writes it, or it is no regular file."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(file).st_mode) and _lock(file):
        return file
    os.close(file)
    return None

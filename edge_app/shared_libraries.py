"""The system's libraries that OpenCV needs: all that are missing at once, and Debian's packages that hold them.

The dynamic linker names the first missing library and stops, so that a bare system is told of one after the other.
Here the files of the package are read instead, without being loaded: each says which libraries it needs.
"""

import ctypes
import re
import shutil
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

# Where Debian does not name a package by its own rule. Newer releases call the first one libglib2.0-0t64; it provides
# the old name too.
_PACKAGES = {"libglib-2.0.so.0": "libglib2.0-0", "libgthread-2.0.so.0": "libglib2.0-0", "libz.so.1": "zlib1g"}
_LOAD, _DYNAMIC = 1, 2  # kinds of program headers of an ELF file
_NEEDED, _STRINGS = 1, 5  # tags of its dynamic section


def missing_from_opencv(window: bool = False) -> list[str]:
    """Sonames that `import cv2` needs and this system lacks; window: that a window on an X display needs as well."""
    # Not by find_spec: a failed import leaves a path behind that leads it to the extension inside the package.
    folder = next((path.parent for entry in sys.path if (path := Path(entry, "cv2", "__init__.py")).is_file()), None)
    if folder is None:
        return []
    start = [*folder.glob("*.so"), *folder.glob("python-*/*.so")]
    if window:
        start += folder.glob("qt/plugins/platforms/libqxcb.so")
    bundled = {path.name: path for path in folder.parent.glob("opencv*.libs/*.so*")}
    return [name for name in needed(start, bundled) if not _loads(name)]


def needed(files: Iterable[Path], bundled: dict[str, Path]) -> list[str]:
    """Sonames that the files need, and the bundled libraries that they lead to; bundled ones themselves left out."""
    waiting, seen, outside = list(files), set[str](), list[str]()
    while waiting:
        for name in _needed(waiting.pop()):
            if name in seen:
                continue
            seen.add(name)
            if name in bundled:
                waiting.append(bundled[name])
            else:
                outside.append(name)
    return outside


def explain(missing: Iterable[str]) -> tuple[str, str]:
    """Which libraries this system lacks, and what installs them."""
    names = list(missing)
    packages = " ".join(dict.fromkeys(debian_package(name) for name in names))
    install = f"sudo apt-get install {packages}"
    if not shutil.which("apt-get"):
        install = f"install them with its package manager (on Debian: {packages})"
    return f"OpenCV needs {', '.join(names)}, which this system lacks", install


def debian_package(soname: str) -> str:
    """The package that holds a library, by the rule of Debian's policy (section 8.1) or as an exception to it."""
    if soname in _PACKAGES:
        return _PACKAGES[soname]
    return re.sub(r"\.so(\.|$)", "", re.sub(r"(\d)\.so\.", r"\1-", soname)).replace("_", "-").lower()


def _loads(soname: str) -> bool:
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def _needed(file: Path) -> list[str]:
    """What an ELF file says that it needs; nothing for any other file."""
    try:
        with file.open("rb") as stream:
            return list(_read_needed(stream))
    except (OSError, struct.error, ValueError):
        return []


def _read_needed(stream: BinaryIO) -> Iterator[str]:
    magic = stream.read(16)
    if len(magic) < 16 or not magic.startswith(b"\x7fELF"):
        return
    wide, order = magic[4] == 2, "<" if magic[5] == 1 else ">"

    def unpack(form: str, at: int) -> tuple[int, ...]:
        stream.seek(at)
        return struct.unpack(order + form, stream.read(struct.calcsize(order + form)))

    headers_at = unpack("Q", 32)[0] if wide else unpack("I", 28)[0]
    header_size, count = unpack("HH", 54 if wide else 42)
    segments = []  # kind, place in the file, address in memory, size in the file
    for at in range(headers_at, headers_at + count * header_size, header_size):
        if wide:
            kind, _, offset, address, _, size = unpack("IIQQQQ", at)
        else:
            kind, offset, address, _, size = unpack("IIIII", at)
        segments.append((kind, offset, address, size))
    entry = "QQ" if wide else "II"
    entries = [
        unpack(entry, at)
        for kind, offset, _, size in segments
        if kind == _DYNAMIC
        for at in range(offset, offset + size, struct.calcsize(order + entry))
    ]
    strings = next((value for tag, value in entries if tag == _STRINGS), None)
    for tag, value in entries:
        if tag != _NEEDED or strings is None:
            continue
        for kind, offset, address, size in segments:
            if kind == _LOAD and address <= strings + value < address + size:
                stream.seek(strings + value - address + offset)
                yield stream.read(256).partition(b"\0")[0].decode()


def loaded(name: str) -> Iterator[ctypes.CDLL]:
    """The copies of a library that this process has loaded, by a part of their path; none where nobody can tell."""
    with suppress(OSError):  # not Linux, or a path that is gone
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
        for path in sorted({line.split(maxsplit=5)[-1] for line in maps.splitlines() if name in line}):
            yield ctypes.CDLL(path)

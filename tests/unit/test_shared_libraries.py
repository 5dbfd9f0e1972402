"""All libraries that a system lacks are found at once, without loading anything that needs them."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from edge_app import shared_libraries
from tests.command import ROOT, environment
from tests.shared_objects import broken_opencv


@pytest.mark.parametrize(
    ("soname", "package"),
    [
        ("libxcb.so.1", "libxcb1"),
        ("libGL.so.1", "libgl1"),
        ("libgthread-2.0.so.0", "libglib2.0-0"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libX11.so.6", "libx11-6"),
        ("libSM.so.6", "libsm6"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libgcc_s.so.1", "libgcc-s1"),
        ("libz.so.1", "zlib1g"),
    ],
)
def test_debian_names(soname: str, package: str) -> None:
    assert shared_libraries.debian_package(soname) == package


def test_a_library_that_loads_is_not_missing() -> None:
    assert shared_libraries.missing_from_opencv() == []


def test_what_a_broken_opencv_lacks_and_its_bundled_libraries_lack(tmp_path: Path) -> None:
    libraries = broken_opencv(tmp_path)
    code = "from edge_app import shared_libraries; print(*sorted(shared_libraries.missing_from_opencv()))"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(PYTHONPATH=f"{tmp_path}:{ROOT}"), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert found.stdout.split() == sorted(libraries)


def test_the_set_up_installs_what_opencv_needs() -> None:
    """The script cannot ask OpenCV, which it is run before: its list has to hold all that the C library does not."""
    script = (ROOT / "tools" / "system-packages.sh").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\s*library (\S+) (\S+)$", script, re.MULTILINE))
    assert listed == {soname: shared_libraries.debian_package(soname) for soname in listed}
    import cv2

    folder = Path(cv2.__file__).parent
    bundled = {path.name: path for path in folder.parent.glob("opencv*.libs/*")}
    needed = set(shared_libraries.needed(folder.glob("*.so"), bundled))
    python = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libz.so.1"}  # Python's own
    assert {name for name in needed - python if not name.startswith("ld-linux")} <= set(listed)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(100), b"text" * 50, bytes(64)])
def test_a_file_that_is_no_library_needs_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.so").write_bytes(content)
    assert shared_libraries.needed([tmp_path / "x.so"], {}) == []


@pytest.mark.parametrize("wide", [True, False])
def test_elf_files_of_64_and_of_32_bits(tmp_path: Path, wide: bool) -> None:
    """A made one: two program headers, a dynamic section and its strings, as the ELF specification lays them out."""
    strings = b"\0libone.so.1\0libtwo.so.2\0"
    strings_at, dynamic_at, base = 0x400, 0x200, 0x10000
    tags = [(1, 1), (5, base + strings_at), (1, 13), (0, 0)]  # NEEDED, STRTAB, NEEDED, NULL
    dynamic = b"".join(struct.pack("<QQ" if wide else "<II", *tag) for tag in tags)
    whole, content = 0x500, bytearray(0x500)
    content[:6] = b"\x7fELF" + bytes([2 if wide else 1, 1])
    segments = [(1, 0, base, whole), (2, dynamic_at, base + dynamic_at, len(dynamic))]
    if wide:
        struct.pack_into("<Q", content, 32, 64)
        struct.pack_into("<HH", content, 54, 56, 2)
        for n, (kind, offset, address, size) in enumerate(segments):
            struct.pack_into("<IIQQQQQQ", content, 64 + 56 * n, kind, 0, offset, address, address, size, size, 8)
    else:
        struct.pack_into("<I", content, 28, 52)
        struct.pack_into("<HH", content, 42, 32, 2)
        for n, (kind, offset, address, size) in enumerate(segments):
            struct.pack_into("<IIIIIIII", content, 52 + 32 * n, kind, offset, address, address, size, size, 0, 4)
    content[dynamic_at : dynamic_at + len(dynamic)] = dynamic
    content[strings_at : strings_at + len(strings)] = strings
    (tmp_path / "x.so").write_bytes(content)
    assert shared_libraries.needed([tmp_path / "x.so"], {}) == ["libone.so.1", "libtwo.so.2"]

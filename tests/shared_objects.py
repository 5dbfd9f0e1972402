"""An OpenCV that needs libraries which no system has, out of real shared objects of the installed one."""

import shutil
from pathlib import Path

import cv2

from tests.conftest import need

_NEEDED = b"libxcb.so.1\0"


def broken_opencv(folder: Path) -> dict[str, str]:
    """Make the package cv2 in `folder`. Its extension lacks one library, and one that it brings along lacks another.

    Returns:
        Soname -> the Debian package that would hold it.
    """
    libraries = Path(cv2.__file__).parents[1] / "opencv_python.libs"
    outer = next(libraries.glob("libxcb-image-*.so*"), None)
    inner = next(libraries.glob("libxcb-util-*.so*"), None)
    need(outer and inner, "the installed OpenCV brings no libxcb-image: pip install opencv-python")
    assert outer is not None
    assert inner is not None
    (folder / "cv2").mkdir(parents=True)
    (folder / "opencv_python.libs").mkdir()
    for library in [*libraries.glob("libxcb-*"), *libraries.glob("libXau-*")]:
        shutil.copyfile(library, folder / "opencv_python.libs" / library.name)
    _rename(outer, folder / "cv2" / "cv2.abi3.so", b"libxqa.so.1\0")
    _rename(inner, folder / "opencv_python.libs" / inner.name, b"libxqb.so.1\0")
    for script in Path(cv2.__file__).parent.glob("*.py"):
        shutil.copyfile(script, folder / "cv2" / script.name)
    return {"libxqa.so.1": "libxqa1", "libxqb.so.1": "libxqb1"}


def _rename(source: Path, target: Path, name: bytes) -> None:
    content = source.read_bytes()
    assert _NEEDED in content
    target.write_bytes(content.replace(_NEEDED, name))

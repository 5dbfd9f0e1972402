"""Every frame right: films in many codecs, pixel formats, colours, shapes and orientations, through the real pipeline.

A film shows the demo portrait, bare or masked, above a row of known colours. Its pixels are compared with what was
encoded, and its person is judged.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_app.config.settings import Settings
from edge_app.vision.analyzer import Analyzer
from tests.formats import FRAMES, WHOLE, Film, check_pixels, differ, encode, judged, original, pictures

Pixels = npt.NDArray[np.uint8]

LONG = bool(os.environ.get("EDGE_APP_TEST_LONG"))


def films() -> Iterator[Film]:
    yield from (Film(matrix=matrix) for matrix in (0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17))
    yield from (Film(matrix=matrix, range=full) for matrix in (1, 2, 5, 7, 8, 9) for full in (1, 2))
    yield from (Film(transfer=code) for code in range(1, 19) if code != 2)
    yield from (Film(primaries=code) for code in (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22))
    yield from (Film(matrix=12, primaries=code) for code in (1, 5, 9, 12))
    yield Film(matrix=9, transfer=16, primaries=9, pixels="yuv420p10le", codec="libx265")  # HDR10
    yield Film(matrix=9, transfer=18, primaries=9, pixels="yuv420p10le", codec="libx265")  # HLG
    for pixels in ("yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "nv12", "gray"):
        yield Film(pixels=pixels)
    yield from (Film("libx264rgb", pixels) for pixels in ("rgb24", "bgr0"))
    for pixels in (
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "yuv420p12le",
        "yuv422p10le",
        "yuv444p12le",
        "gray12le",
        "gbrp10le",
    ):
        yield Film("libx265", pixels)
    yield from (Film("libsvtav1", pixels, suffix) for pixels, suffix in (("yuv420p", ".mp4"), ("yuv420p10le", ".webm")))
    yield from (Film("libvpx-vp9", pixels, ".webm") for pixels in ("yuv420p", "yuv440p", "yuv444p", "yuva420p", "gbrp"))
    yield Film("libvpx", suffix=".webm")
    yield from (Film("mpeg2video", pixels, ".ts") for pixels in ("yuv420p", "yuv422p"))
    yield from (Film(codec, suffix=".avi") for codec in ("mpeg4", "msmpeg4", "h263p", "snow"))
    yield from (Film(codec, suffix=suffix) for codec, suffix in (("flv", ".flv"), ("wmv2", ".wmv")))
    yield from (Film("mjpeg", pixels, ".avi") for pixels in ("yuvj420p", "yuvj422p", "yuvj444p"))
    for pixels in ("yuv410p", "yuv411p", "yuv440p", "yuv420p16le", "yuva444p10le", "gray", "gray16le", "gbrp12le"):
        yield Film("ffv1", pixels)
    yield from (Film("prores_ks", pixels, ".mov") for pixels in ("yuv422p10le", "yuva444p10le"))
    yield Film("dnxhd", "yuv422p", ".mov", matrix=1, options={"profile": "dnxhr_sq"})
    yield Film("v210", "yuv422p10le", ".mov")
    yield from (Film("rawvideo", pixels, ".avi") for pixels in ("yuv420p", "yuyv422", "uyvy422", "bgr24", "rgb555le"))
    yield from (Film("rawvideo", pixels, ".nut") for pixels in ("yuva422p", "rgb48le", "xyz12le", "yuv422p14le"))
    yield from (Film("huffyuv", pixels, ".avi") for pixels in ("yuv422p", "rgb24", "bgra"))
    yield from (Film("utvideo", pixels, ".avi") for pixels in ("yuv420p", "gbrp"))
    yield from (Film("qtrle", pixels, ".mov") for pixels in ("rgb24", "argb", "gray"))
    yield from (Film("png", pixels, ".mov") for pixels in ("rgb24", "rgba", "rgb48be", "ya8"))
    yield from (Film("jpeg2000", pixels, ".mov") for pixels in ("yuv420p", "gray"))
    for first in ("tff", "bff"):
        for codec, pixels, suffix in (
            *(("libx264", "yuv420p", ".mp4"), ("libx264", "yuv422p10le", ".mkv"), ("libx264", "yuv444p", ".mkv")),
            *(("mpeg2video", "yuv420p", ".ts"), ("mpeg2video", "yuv422p", ".ts"), ("mpeg4", "yuv420p", ".avi")),
            *(("prores_ks", "yuv422p10le", ".mov"), ("ffv1", "bgr0", ".mkv"), ("ffv1", "gray", ".mkv")),
        ):
            yield Film(codec, pixels, suffix, interlaced=first)
    yield Film(matrix=8, range=1, interlaced="tff", turn=90)
    for turn, mirrored in ((0, True), (90, False), (90, True), (180, False), (180, True), (270, False), (270, True)):
        yield Film(suffix=".mp4", turn=turn, mirrored=mirrored)
        yield Film("libx265", "yuv422p10le", ".mkv", turn=turn, mirrored=mirrored)
        yield Film("png", "rgb24", ".mov", turn=turn, mirrored=mirrored)
    for size in ((321, 299), (319, 301), (323, 298)):
        for pixels in ("yuv410p", "yuv411p", "yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuv420p10le", "gbrp10le"):
            yield Film("ffv1", pixels, size=size)
        for codec, pixels, suffix in (
            *(("mpeg4", "yuv420p", ".avi"), ("mjpeg", "yuvj420p", ".avi"), ("libx264", "yuv444p", ".mkv")),
            *(("libvpx-vp9", "yuv420p", ".webm"), ("rawvideo", "bgr24", ".avi")),
        ):
            yield Film(codec, pixels, suffix, size=size)
    yield Film("ffv1", size=(321, 299), turn=90, mirrored=True)


MATRIX = {str(film): film for film in films()}


@pytest.fixture(scope="module")
def analyzer(models: Path) -> Analyzer:
    return Analyzer(Settings())


@pytest.mark.parametrize("name", MATRIX)
def test_a_film_of_any_format(tmp_path: Path, analyzer: Analyzer, name: str) -> None:
    """Bare and masked in turn, and each film both ways with EDGE_APP_TEST_LONG=1."""
    film, faces = MATRIX[name], [(False, "no_mask"), (True, "mask")]
    for masked, label in faces if LONG else [faces[[*MATRIX].index(name) % 2]]:
        image = original(masked, film.size)
        path = encode(tmp_path / f"{label}{film.suffix}", film, image)
        assert judged(path, analyzer) == (FRAMES, [label])
    check_pixels(pictures(path)[-1], film, image)


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video", "ffv1"])
def test_a_film_of_two_fields_shows_one_time(tmp_path: Path, codec: str) -> None:
    """What moves between the fields of a frame would have a comb for an edge."""
    early = original(False)
    late = np.roll(early, 24, axis=1)
    combed = early.copy()
    combed[1::2] = late[1::2]
    found = pictures(encode(tmp_path / "x.mkv", Film(codec, "yuv422p", interlaced="tff"), combed))[-1]
    assert differ(combed, early) > 12
    assert differ(found.bgr(), early) < 2 * WHOLE
    assert differ(found.shrunk((160, 150)), cv2.resize(early, (160, 150), interpolation=cv2.INTER_AREA)) < 2 * WHOLE  # type: ignore[arg-type]


@pytest.mark.parametrize("matrix", [0, 10, 11, 13, 14, 15, 16, 17])
def test_a_matrix_that_is_not_known_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, matrix: int) -> None:
    film = Film("ffv1", matrix=matrix)
    assert len(pictures(encode(tmp_path / "x.mkv", film, original(False)))) == FRAMES
    assert [f"(matrix {matrix})" in line for line in caplog.messages] == [True]

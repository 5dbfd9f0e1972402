"""Every frame right: films in many codecs, pixel formats, colours, shapes and orientations, through the real pipeline.

A film shows the demo portrait, bare or masked, above a row of known colours. Its pixels are compared with what was
encoded, and its person is judged.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_app.capture.open import open_source, parse_source
from edge_app.capture.reader import FrameReader
from edge_app.config.settings import Settings, SourceSettings
from edge_app.errors import SourceError
from edge_app.planes import Picture
from edge_app.runtime.pipeline import SourceAnalyzer, results
from edge_app.vision.analyzer import Analyzer
from tests.formats import COLOURS, FRAMES, Film, encode, original, patch

Pixels = npt.NDArray[np.uint8]

# Mean absolute differences, in grey levels of 0..255.
WHOLE = 4.5  # of a whole frame from its original: what encoding and 4:2:0 take
WAYS = 3.0  # between the ways to the same pixels, which interpolate chroma differently
COLOUR = 4.0  # inside of a patch of one colour


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


def pictures(path: Path, settings: SourceSettings | None = None) -> list[Picture]:
    with open_source(parse_source(str(path)), settings or SourceSettings()) as source:
        found = []
        while (frame := source.read()) is not None:
            assert not isinstance(frame[0], np.ndarray)
            found.append(frame[0])
    return found


def judged(path: Path, analyzer: Analyzer, settings: SourceSettings | None = None) -> tuple[int, list[str]]:
    """How many frames a run of the film has, and the last label of each person in it."""
    labels: dict[int, str] = {}
    count = 0
    run = Settings(source=settings or SourceSettings())
    with (
        FrameReader(parse_source(str(path)), run.source) as reader,
        closing(results(SourceAnalyzer(run, analyzer), reader)) as stages,
    ):
        for result in stages:
            count += 1
            labels |= {event.track_id: event.label for event in result.events}
    return count, list(labels.values())


def differ(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def grey(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


@pytest.mark.parametrize("name", MATRIX)
def test_a_film_of_any_format(tmp_path: Path, analyzer: Analyzer, name: str) -> None:
    film = MATRIX[name]
    for masked, label in ((False, "no_mask"), (True, "mask")):
        image = original(masked, film.size)
        path = encode(tmp_path / f"{label}{film.suffix}", film, image)
        assert judged(path, analyzer) == (FRAMES, [label])
    check_pixels(pictures(path)[-1], film, image)


def check_pixels(picture: Picture, film: Film, image: Pixels) -> None:
    if av.VideoFormat(film.pixels).name.startswith(("gray", "ya")):
        image = grey(image)
    width, height = film.size
    assert (picture.width, picture.height) == film.size
    parts = picture.part(0, 0, width, height)  # first: later it would be cut from the whole
    small, box = picture.shrunk((width // 2, height // 2)), (101, 53, 216, 168)
    part, whole = picture.part(*box), picture.bgr()
    assert whole.shape == parts.shape == image.shape
    assert whole.dtype == parts.dtype == small.dtype == part.dtype == np.uint8
    limit = WHOLE * (1.6 if film.interlaced else 1)
    assert differ(whole, image) < limit
    assert differ(parts, image) < limit
    assert differ(whole, parts) < WAYS
    assert differ(part, parts[box[1] : box[3], box[0] : box[2]]) < 0.2
    assert differ(small, cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)) < limit  # type: ignore[arg-type]
    for index in range(len(COLOURS)):
        rows, columns = patch(index, film.size)
        middle = slice(rows.start + 8, rows.stop - 8), slice(columns.start + 8, columns.stop - 8)
        for pixels in (whole, parts):
            found, wanted = (array[middle].reshape(-1, 3).mean(0) for array in (pixels, image))
            assert np.abs(found - wanted).max() < COLOUR * (2 if film.pixels in ("rgb555le", "xyz12le") else 1)


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


@pytest.mark.parametrize("film", [Film("gif", "rgb8", ".gif"), Film("libsvtav1", suffix=".avif")], ids=str)
def test_an_animation_is_played(tmp_path: Path, analyzer: Analyzer, film: Film) -> None:
    for masked, label in ((False, "no_mask"), (True, "mask")):
        path = encode(tmp_path / f"{label}{film.suffix}", film, original(masked))
        assert parse_source(str(path)).kind == "file"
        assert judged(path, analyzer) == (FRAMES, [label])
    still = encode(tmp_path / f"still{film.suffix}", film, original(True), 1)
    assert parse_source(str(still)).kind == "images"


@pytest.mark.parametrize(
    ("suffix", "films"),
    [
        (".ts", [Film(), Film(size=(400, 320)), Film(size=(322, 302))]),
        (".ts", [Film(), Film(pixels="yuv444p"), Film(pixels="yuv420p10le"), Film(pixels="gray")]),
        (".ts", [Film(matrix=1, range=1), Film(matrix=5, range=2), Film(matrix=9, range=1)]),
        (".ts", [Film(), Film(interlaced="tff"), Film()]),
        (".ts", [Film("libx265"), Film("libx265", "yuv422p10le", size=(400, 320))]),
        (".ts", [Film("mpeg2video"), Film("mpeg2video", size=(400, 320), interlaced="bff")]),
        (".h264", [Film(), Film(pixels="yuv422p"), Film(size=(400, 320))]),
        (".hevc", [Film("libx265"), Film("libx265", size=(400, 320))]),
        (".mjpeg", [Film("mjpeg", "yuvj420p"), Film("mjpeg", "yuvj444p", size=(400, 320))]),
        (".mpg", [Film("mpeg2video"), Film("mpeg2video", size=(400, 320))]),
        (".obu", [Film("libsvtav1"), Film("libsvtav1", size=(400, 320))]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(f.codec + f.pixels for f in value),
)
def test_a_film_that_changes_on_the_way(tmp_path: Path, suffix: str, films: list[Film]) -> None:
    parts = []
    for film in films:
        film = replace(film, suffix=suffix)
        parts.append(encode(tmp_path / f"part{suffix}", film, original(False, film.size)).read_bytes())
    path = tmp_path / f"whole{suffix}"
    path.write_bytes(b"".join(parts))
    found = pictures(path)
    # Its decoder loses the frame that it holds back when the size changes.
    lost = [min(index + 1, len(films) - 1) * (films[0].codec == "mpeg2video") for index in range(len(films))]
    assert len(found) == len(films) * FRAMES - lost[-1]
    for index, film in enumerate(films):
        check_pixels(found[(index + 1) * FRAMES - 1 - lost[index]], film, original(False, film.size))


@pytest.mark.parametrize(
    "codecs",
    [
        ("libx264", "mpeg2video", "libx264"),
        ("mpeg2video", "libx265", "libx264"),
        ("libx265", "libx264"),
        ("libx264", "libx265"),
    ],
    ids="-".join,
)
def test_a_recording_that_goes_on_in_another_codec(tmp_path: Path, analyzer: Analyzer, codecs: tuple[str, ...]) -> None:
    """Joined end to end. A decoder may lose two frames with the change, but what it gives is right."""
    films = [Film(codec, suffix=".ts", size=(320 + 40 * i, 300 + 20 * i)) for i, codec in enumerate(codecs)]
    path = tmp_path / "joined.ts"
    with path.open("wb") as file:
        for film in films:
            file.write(encode(tmp_path / "part.ts", film, original(False, film.size), 10).read_bytes())
    found = pictures(path)
    for film in films:
        frames = [picture for picture in found if (picture.width, picture.height) == film.size]
        assert 8 <= len(frames) <= 10
        for picture in frames:
            check_pixels(picture, film, original(False, film.size))
    assert judged(path, analyzer) == (len(found), ["no_mask"])


def test_frames_that_are_held_stay_as_they_are(tmp_path: Path) -> None:
    """Their planes lie in the decoder's own buffers, which it uses again once nobody holds them."""
    rng = np.random.default_rng(0)
    shades = [np.full((96, 128, 3), int(shade), np.uint8) for shade in rng.integers(0, 256, 60)]
    path = tmp_path / "shades.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for shade in shades:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="bgr24")))
        container.mux(stream.encode(None))
    held: list[Picture] = []
    copies: list[Pixels] = []
    with open_source(parse_source(str(path)), SourceSettings()) as source:
        while (frame := source.read()) is not None:
            assert not isinstance(frame[0], np.ndarray)
            held.append(frame[0])
            copies.append(frame[0].part(0, 0, 128, 96).copy())
    del source, frame
    assert len(held) == len(shades)
    for picture, copy, shade in zip(held, copies, shades, strict=True):
        assert np.array_equal(picture.part(0, 0, 128, 96), copy)
        assert differ(picture.bgr(), shade) < 5


class TestWhichStream:
    def test_the_film_rather_than_its_cover(self, tmp_path: Path) -> None:
        for first in (True, False):
            path = tmp_path / f"{first}.mp4"
            self._with_cover(path, cover_first=first)
            found = pictures(path)
            assert len(found) == FRAMES
            check_pixels(found[0], Film(), original(True))

    @staticmethod
    def _with_cover(path: Path, cover_first: bool) -> None:
        image = np.full((800, 800, 3), (0, 0, 255), np.uint8)
        picture = cv2.imencode(".jpg", image)[1].tobytes()
        with av.open(str(encode(path.with_suffix(".film.mp4"), Film(suffix=".mp4"), original(True)))) as source:
            film = source.streams.video[0]
            with av.open(str(path), "w") as container:

                def add_cover() -> av.VideoStream:
                    cover = container.add_stream("mjpeg", rate=1)
                    assert isinstance(cover, av.VideoStream)
                    cover.width, cover.height, cover.pix_fmt = 800, 800, "yuvj420p"
                    cover.disposition = av.stream.Disposition.attached_pic
                    return cover

                cover = add_cover() if cover_first else None
                copied = container.add_stream_from_template(film)
                cover = cover or add_cover()
                packet = av.Packet(picture)
                packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, Fraction(1, 90_000)
                container.mux(packet)
                for packet in source.demux(film):
                    if packet.size:
                        packet.stream = copied
                        container.mux(packet)

    @pytest.mark.parametrize("suffix", [".mkv", ".ts"])
    def test_the_largest_or_the_one_asked_for(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"two{suffix}"
        small, large = Film(suffix=suffix), Film(suffix=suffix, size=(400, 320))
        with av.open(str(path), "w") as container:
            streams = []
            for film in (small, large):
                stream = container.add_stream("libx264", rate=10)
                stream.width, stream.height = film.size
                stream.pix_fmt = "yuv420p"
                streams.append(stream)
            for index in range(FRAMES):
                for stream, film in zip(streams, (small, large), strict=True):
                    frame = av.VideoFrame.from_ndarray(original(False, film.size), format="bgr24")
                    frame.pts, frame.time_base = index, Fraction(1, 10)
                    container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode(None))
        assert {(p.width, p.height) for p in pictures(path)} == {large.size}
        assert {(p.width, p.height) for p in pictures(path, SourceSettings(stream=0))} == {small.size}
        with pytest.raises(SourceError, match=r"source.stream = 7: it has no such video stream; there are: 0, 1"):
            pictures(path, SourceSettings(stream=7))

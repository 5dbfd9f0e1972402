"""Films that change on the way, that hold several streams, or that are animations."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edge_app.capture.demo import portrait
from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import Settings, SourceSettings
from edge_app.errors import SourceError
from edge_app.planes import Picture, as_picture
from edge_app.vision.analyzer import Analyzer
from tests.formats import FRAMES, Film, check_pixels, differ, encode, judged, original, pictures

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def analyzer(models: Path) -> Analyzer:
    return Analyzer(Settings())


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


@pytest.mark.parametrize(
    "codec", ["libx264", "libx265", "mpeg2video", "libvpx-vp9", "libsvtav1", "mjpeg", "ffv1", "qtrle"]
)
def test_frames_that_are_held_stay_as_they_are(tmp_path: Path, codec: str) -> None:
    """Their planes lie in the decoder's own buffers, which it uses again once nobody holds them."""
    rng = np.random.default_rng(0)
    shades = [np.full((96, 128, 3), int(shade), np.uint8) for shade in rng.integers(0, 256, 60)]
    path = tmp_path / ("shades.mov" if codec == "qtrle" else "shades.mkv")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 128, 96
        stream.pix_fmt = {"qtrle": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        for shade in shades:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="bgr24")))
        container.mux(stream.encode(None))
    held: list[Picture] = []
    copies: list[Pixels] = []
    with open_source(parse_source(str(path)), SourceSettings(decode_threads=3)) as source:
        while (frame := source.read()) is not None:
            assert not isinstance(frame[0], np.ndarray)
            held.append(frame[0])
            copies.append(frame[0].part(0, 0, 128, 96).copy())
    del source, frame
    assert len(held) == len(shades)
    for picture, copy, shade in zip(held, copies, shades, strict=True):
        assert np.array_equal(picture.part(0, 0, 128, 96), copy)
        assert differ(picture.bgr(), shade) < 8  # quick encoding


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


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_exif_beside_the_display_matrix(tmp_path: Path, analyzer: Analyzer, turn: int) -> None:
    """FFmpeg gives frames of a JPEG its EXIF too, which PyAV does not know."""
    quarters = {1: 0, 3: 2, 6: 1, 8: 3}[turn]  # that the picture was turned before, counterclockwise
    bare = cv2.resize(portrait(masked=False), (320, 320), interpolation=cv2.INTER_AREA)
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = Image.fromarray(np.rot90(bare, quarters)[..., ::-1].copy())
    content = io.BytesIO()
    stored.save(content, "JPEG", exif=exif, quality=95)
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 320, "yuvj420p"
        for index in range(4):
            packet = av.Packet(content.getvalue())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 25)
            container.mux(packet)
    with open_source(parse_source(str(path)), SourceSettings()) as source:
        read = source.read()
        assert read is not None
        picture = as_picture(read[0])
    assert [face.label for face in analyzer(picture.bgr())] == ["no_mask"]
    assert np.abs(picture.bgr().astype(int) - bare).mean() < 6

"""Files that cannot be decoded: one line that names the codec, the container, and what to do."""

import re
from pathlib import Path

import av
import numpy as np
import pytest

from edge_app.capture.colours import Converter
from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError
from tests.formats import Film, encode, original

FILM = Film(suffix=".mp4")


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(parse_source(str(path)), SourceSettings())
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("suffix", "known", "unknown", "name"),
    [
        (".mp4", b"avc1", b"evc1", r"evc \(evc1 / 0x31637665\) in QuickTime / MOV"),
        (".mp4", b"avc1", b"zzzz", r"\(zzzz / 0x7A7A7A7A\) in QuickTime / MOV"),
        (".mkv", b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/XXX", "a video codec without a name in Matroska / WebM"),
    ],
)
def test_a_codec_without_a_decoder(tmp_path: Path, suffix: str, known: bytes, unknown: bytes, name: str) -> None:
    path = encode(tmp_path / f"film{suffix}", Film(suffix=suffix), original(False))
    path.write_bytes(path.read_bytes().replace(known, unknown))
    level = av.logging.get_level()
    assert re.fullmatch(
        rf"cannot be opened: PyAV {re.escape(av.__version__)} has no decoder for {name}: "
        r"install the wheel of PyAV from PyPI \(pip install av\), or convert the video to H.264",
        refused(path),
    )
    assert av.logging.get_level() == level


def test_a_stream_without_a_decoder_is_left_for_one_that_has_one(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    large, small = original(False, (640, 480)), original(False)
    with av.open(str(path), "w") as container:
        streams = []
        for codec, image in (("libx264", large), ("mpeg4", small)):
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
            streams.append(stream)
        for stream, image in zip(streams, (large, small), strict=True):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with open_source(parse_source(str(path)), SourceSettings()) as source:
        assert (source.info.width, source.info.height) == (320, 300)


def test_damaged_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "film.mp4", FILM, original(False))
    content = bytearray(path.read_bytes())
    start, end = content.index(b"mdat") + 4, len(content) - 2000
    content[start:end] = np.random.default_rng(0).bytes(end - start)
    path.write_bytes(content)
    assert re.fullmatch(
        r"cannot be opened: none of its frames can be decoded \(h264 in QuickTime / MOV: .*invalid data found.*\): "
        "it may be damaged, or cut off before its first whole picture",
        refused(path),
    )
    assert caplog.messages == []


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    path = encode(tmp_path / "film.ts", Film("mpeg2video", suffix=".ts", options={"g": "1"}), original(False), 12)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 188 * 188
    content[middle : middle + 188 * 20] = bytes(188 * 20)
    path.write_bytes(content)
    with open_source(parse_source(str(path)), SourceSettings()) as source:
        count = 0
        while source.read() is not None:
            count += 1
    assert 8 <= count <= 12


@pytest.mark.parametrize(
    ("suffix", "name"), [(".mkv", "Matroska / WebM"), (".mp4", "QuickTime / MOV"), (".wav", "WAV / WAVE")]
)
def test_sound_alone(tmp_path: Path, suffix: str, name: str) -> None:
    path = tmp_path / f"sound{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac" if suffix == ".mp4" else "pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert refused(path).startswith(f"cannot be opened: it has no video stream ({name}")


def test_a_pixel_format_that_cannot_be_converted() -> None:
    with pytest.raises(SourceError, match=r"film: its pixel format bgr4 cannot be converted \(.+\)"):
        Converter("film")(av.VideoFrame(64, 48, "bgr4"))


def test_options_of_the_user_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "film.mp4", FILM, original(False))
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "format_whitelist;matroska|nonsense")
    assert refused(path) == "cannot be opened: its content is not in a video format that is read here"
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")
    open_source(parse_source(str(path)), SourceSettings()).close()

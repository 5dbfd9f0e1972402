"""Sources: what the text means, what comes out of real files, and one clear line for each bad one."""

import logging
import os
import shutil
import socket
import struct
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.capture.folders import list_images
from edge_app.capture.images import load_image, to_bgr
from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from edge_app.errors import SourceError, UsageError
from edge_app.planes import as_picture
from tests.media import Pixels, grey, write_clip

SETTINGS = SourceSettings(open_timeout_s=2, read_timeout_s=2)


def frames(text: str | Path, settings: SourceSettings = SETTINGS) -> list[tuple[Pixels, float]]:
    with open_source(parse_source(str(text)), settings) as source:
        return [(as_picture(picture).bgr(), time) for picture, time in iter(source.read, None)]


@pytest.mark.parametrize(
    ("text", "kind", "live"),
    [
        ("0", "camera", True),
        ("/dev/video3", "camera", True),
        ("RTSP://host/1", "stream", True),
        ("https://host/a.m3u8", "stream", True),
        ("csi://1", "csi", True),
        ("videotestsrc ! videoconvert ! appsink", "gstreamer", True),
        ("demo", "demo", False),
        ("a/b.mp4", "file", False),
        ("face.JPG", "images", False),
        (".", "images", False),
    ],
)
def test_kind_follows_from_the_text(text: str, kind: str, live: bool) -> None:
    spec = parse_source(text)
    assert (spec.kind, spec.live) == (kind, live)


@pytest.mark.parametrize("text", ["", "  ", "-", "ftp://host/x", "csi://front", "videotestsrc ! fakesink"])
def test_what_is_no_source_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_source(text)


def test_a_password_is_in_no_text_of_a_source() -> None:
    spec = parse_source("rtsp://user:secret@127.0.0.1:1/x?token=secret")
    with pytest.raises(SourceError) as caught:
        open_source(spec, SETTINGS)
    assert "secret" not in f"{spec} {spec.display} {caught.value}"


def test_a_video_gives_every_frame_with_its_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [grey(20 * i) for i in range(10)])
    got = frames(clip)
    assert [round(float(image.mean()) / 20) for image, _ in got] == list(range(10))
    assert [time for _, time in got] == pytest.approx([i / 25 for i in range(10)], abs=0.002)
    assert all(image.dtype == np.uint8 and image.shape == (48, 64, 3) for image, _ in got)


def test_info_tells_size_rate_and_length(tmp_path: Path) -> None:
    with open_source(parse_source(str(write_clip(tmp_path / "a.mp4", [grey(9)] * 5))), SETTINGS) as source:
        info = source.info
    assert (info.width, info.height, info.fps, info.frame_count, info.live) == (64, 48, 25.0, 5, False)


def test_a_file_name_that_looks_like_a_protocol_or_pattern_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "plain.mp4", [grey(9)] * 3)
    for name in ("12:30 50%d.mp4", "http:x.mp4"):
        shutil.copy("plain.mp4", name)
        assert len(frames(name)) == 3


def test_a_video_that_changes_size_plays_to_its_end(tmp_path: Path) -> None:
    small = write_clip(tmp_path / "small.ts", [grey(40)] * 60)
    large = write_clip(tmp_path / "large.ts", [grey(200, 128, 96)] * 60)
    (tmp_path / "both.ts").write_bytes(small.read_bytes() + large.read_bytes())
    got = frames(tmp_path / "both.ts")
    assert [image.mean() > 120 for image, _ in got] == [False] * 60 + [True] * 60
    times = [time for _, time in got]  # they start anew in the middle
    assert times == sorted(times)
    assert times[-1] == pytest.approx(119 / 25, abs=0.1)


def test_a_video_turned_by_its_metadata_comes_upright(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [grey(9)] * 3)
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version, times, track, duration, layer … come first
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = struct.pack(">9i", *turned)
    clip.write_bytes(data)
    assert frames(clip)[0][0].shape == (64, 48, 3)


def test_a_cut_off_video_plays_as_far_as_it_goes_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    clip = write_clip(tmp_path / "a.mp4", list(noise), movflags="faststart")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        count = len(frames(clip))
    assert 0 < count < 25
    assert f"{count} of 30 frames" in caplog.text


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no such file"), (b"", "empty"), (b"\x07rubbish" * 999, "cannot be opened: invalid")]
)
@pytest.mark.parametrize("name", ["bad.mp4", "with space.mkv"])
def test_a_bad_video_is_one_line(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=says) as caught:
        frames(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_decoders_are_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"rubbish" * 99)
    with pytest.raises(SourceError):
        frames(tmp_path / "bad.mp4")
    assert capfd.readouterr() == ("", "")


def test_a_sound_file_has_no_video(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    with pytest.raises(SourceError, match="no video stream"):
        frames(tmp_path / "a.wav")


def test_no_camera_says_which_exist() -> None:
    with pytest.raises(SourceError, match="no camera at /dev/video63; cameras here: "):
        frames("63")


def test_a_refused_port_and_an_unknown_host_are_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(SourceError, match="connection refused"):
            frames(f"rtsp://127.0.0.1:{closed.getsockname()[1]}/x")
    with pytest.raises(SourceError, match="not found"):
        frames("rtsp://no-such-host.invalid/x")


@pytest.mark.parametrize("url", ["rtsp://[::1/x", "rtsp:///x", "http://u:p@:80/", "rtsp://host:99999/"])
def test_a_malformed_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match=r"URL"):
        frames(url)


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("text", ["csi://0", "videotestsrc ! appsink"])
def test_opencv_without_gstreamer_is_said(text: str) -> None:
    with pytest.raises(SourceError, match="no GStreamer"):
        frames(text)


def test_a_picture_is_read_by_its_content_not_its_name(tmp_path: Path) -> None:
    (tmp_path / "really_png.jpg").write_bytes(cv2.imencode(".png", grey(77))[1].tobytes())
    assert np.array_equal(load_image(tmp_path / "really_png.jpg"), grey(77))


@pytest.mark.parametrize(
    "stored",
    [
        np.full((48, 64), 100, np.uint8),
        np.full((48, 64), 100 * 257, np.uint16),
        np.full((48, 64, 3), 100 * 257, np.uint16),
        np.full((48, 64, 4), 100, np.uint8),
    ],
    ids=["grey", "grey16", "colour16", "alpha"],
)
def test_every_depth_becomes_8_bit_bgr(tmp_path: Path, stored: np.ndarray) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), stored)
    image = load_image(tmp_path / "a.png")
    assert image.shape == (48, 64, 3)
    assert image.dtype == np.uint8
    assert abs(int(image.mean()) - 100) <= 1
    assert np.abs(to_bgr(stored).astype(int) - 100).max() <= 1


def test_colours_come_as_bgr_and_exif_turns_the_picture(tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 48), (250, 10, 10)).save(tmp_path / "a.png", exif=exif)
    image = load_image(tmp_path / "a.png")
    assert image.shape == (64, 48, 3)
    assert image[0, 0].tolist() == [10, 10, 250]


def huge_png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_absurd_dimensions_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    (tmp_path / "bomb.png").write_bytes(huge_png(side))
    with pytest.raises(SourceError, match="megapixels"):
        frames(tmp_path / "bomb.png")


@pytest.mark.parametrize("content", [None, b"", b"rubbish", b"\x89PNG\r\n\x1a\n"])
def test_a_bad_picture_is_a_source_error(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(SourceError, match=r"bad\.png"):
        frames(tmp_path / "bad.png")


def test_a_cut_off_picture_is_damaged(tmp_path: Path, astronaut: Pixels) -> None:
    data = cv2.imencode(".jpg", astronaut)[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(SourceError, match="damaged"):
        load_image(tmp_path / "cut.jpg")


def test_a_folder_plays_its_pictures_in_order_and_passes_over_bad_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for index in (2, 0):
        cv2.imwrite(str(tmp_path / f"{index}.png"), grey(100 + index))
    (tmp_path / "1.png").write_bytes(b"rubbish")
    (tmp_path / "notes.txt").write_text("no picture")
    got = frames(tmp_path, SourceSettings(fps=10))
    assert [(int(image[0, 0, 0]), time) for image, time in got] == [(100, 0.0), (102, 0.2)]
    assert "1.png" in caplog.text
    assert [p.name for p in list_images(tmp_path)] == ["0.png", "1.png", "2.png"]


def test_a_folder_without_good_pictures_is_a_source_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"looked for \.jpg, \.jpeg"):
        frames(tmp_path)
    (tmp_path / "1.png").write_bytes(b"rubbish")
    with pytest.raises(SourceError, match="none of the 1 pictures"):
        frames(tmp_path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names other than UTF-8 are Linux's alone")
@pytest.mark.parametrize("name", ["caf\udce9.mp4", "new\nline.mp4", "12:30.mp4", "100%d.mp4", "a ! b.mp4"])
def test_a_video_may_have_any_name(tmp_path: Path, name: str) -> None:
    write_clip(tmp_path / "a.mp4", [grey(9)] * 3).rename(tmp_path / name)
    assert len(frames(tmp_path / name)) == 3


@pytest.mark.parametrize("text", ["./~x.mp4", "~x.mp4", "./~root.mp4"])
def test_a_tilde_without_a_user_is_part_of_a_name(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mp4", [grey(9)] * 3).rename(tmp_path / Path(text).name)
    assert len(frames(text)) == 3


def test_a_tilde_alone_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_clip(tmp_path / "a.mp4", [grey(9)] * 3)
    assert len(frames("~/a.mp4")) == 3


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_video_comes_through_a_pipe_from_its_first_byte(tmp_path: Path, name: str) -> None:
    content = write_clip(tmp_path / name, [grey(20 * i) for i in range(10)]).read_bytes()
    os.mkfifo(tmp_path / "p")
    writer = threading.Thread(target=(tmp_path / "p").write_bytes, args=(content,))
    writer.start()
    got = frames(tmp_path / "p")
    writer.join(10)
    assert [round(float(image.mean()) / 20) for image, _ in got] == list(range(10))


def test_a_pipe_that_nobody_writes_to_is_an_error_in_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.ts")
    with pytest.raises(SourceError, match=r"p\.ts: nothing came through this pipe within 0\.05 s"):
        frames(tmp_path / "p.ts", SourceSettings(open_timeout_s=0.05))


def test_a_pipe_that_closes_without_a_word_is_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.ts")
    writer = threading.Thread(target=(tmp_path / "p.ts").write_bytes, args=(b"",))
    writer.start()
    with pytest.raises(SourceError, match="the pipe is empty"):
        frames(tmp_path / "p.ts", SourceSettings(open_timeout_s=10))
    writer.join(10)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_video(path: str) -> None:
    with pytest.raises(SourceError, match=f"{path}: a device, not a regular file"):
        frames(path)


def test_a_socket_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.mp4")
        with pytest.raises(SourceError, match="a socket, not a regular file"):
            frames("s.mp4")


def test_programs_that_are_started_later_inherit_no_options(tmp_path: Path) -> None:
    before = dict(os.environ)
    frames(write_clip(tmp_path / "a.mp4", [grey(9)] * 3))
    assert dict(os.environ) == before

"""Pictures: what is decoded, and what is named instead."""

import os
import socket
import struct
import threading
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from edge_app.capture.images import FORMATS, MAX_BYTES, MAX_SIDE, load_image, supported
from edge_app.errors import SourceError
from tests.conftest import need
from tests.media import Pixels, grey


def png(width: int, height: int, whole: bool = True) -> bytes:
    """A grey PNG picture, black; not whole: without its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height if whole else 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", [*FORMATS, "MPO"])
def test_every_documented_format_is_decoded_whatever_the_name(tmp_path: Path, astronaut: Pixels, name: str) -> None:
    need(name not in ("AVIF", "JPEG2000") or name in supported(), f"this Pillow has no {name}")
    need(name != "WEBP" or features.check("webp"), "this Pillow has no WebP")
    picture = Image.fromarray(astronaut[..., ::-1])
    more = {"save_all": True, "append_images": [picture]} if name == "MPO" else {}
    picture.save(tmp_path / "a.jpg", format=name, **more)
    loaded = load_image(tmp_path / "a.jpg")
    assert loaded.shape == astronaut.shape
    assert loaded.flags.c_contiguous
    assert np.abs(loaded.astype(int) - astronaut).mean() < 12


@pytest.mark.parametrize("name", ["EPS", "PDF", "PPM", "PCX", "TGA", "ICO", "DDS", "SGI", "MSP"])
def test_other_formats_are_refused_by_their_content(tmp_path: Path, name: str) -> None:
    Image.new("1" if name == "MSP" else "RGB", (64, 64)).save(tmp_path / "a.png", format=name)
    with pytest.raises(SourceError, match=r"not supported: save it as|known are JPEG, PNG, WebP"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"msf1"])
def test_heic_is_named(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"heicmif1" + bytes(200))
    with pytest.raises(SourceError, match="HEIC pictures are not supported: save it as JPEG"):
        load_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 3)])
def test_32_bit_pictures_are_called_so(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    if len(shape) == 2:
        Image.fromarray(np.ones(shape, dtype)).save(tmp_path / "a.tif")
    else:
        need(cv2.imwrite(str(tmp_path / "a.tif"), np.ones(shape, dtype)), "this OpenCV writes no such TIFF")
    with pytest.raises(SourceError, match=r"a\.tif: .*32-bit.* not supported"):
        load_image(tmp_path / "a.tif")


def test_a_16_bit_picture_is_scaled_and_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    loaded = load_image(tmp_path / "a.png")
    assert loaded.shape == (64, 48, 3)
    assert loaded[0].max() == 0
    assert loaded[-1].min() == 255
    assert abs(int(loaded[32, 0, 0]) - 129) <= 1


@pytest.mark.parametrize("size", [(88_000_000, 1), (1, MAX_SIDE + 1)])
def test_a_side_that_nothing_can_scale_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png(*size, whole=False))
    with pytest.raises(SourceError, match=f"a side of more than {MAX_SIDE} pixels"):
        load_image(tmp_path / "a.png")


def test_the_longest_side_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(MAX_SIDE, 2))
    assert load_image(tmp_path / "a.png").shape == (2, MAX_SIDE, 3)


def test_a_huge_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    with (tmp_path / "a.jpg").open("wb") as file:
        file.write(png(64, 48))
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SourceError, match="more than 600 MB"):
        load_image(tmp_path / "a.jpg")


def test_what_is_no_regular_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.jpg")
        for path, says in {
            "/dev/zero": "a device, not a regular file",
            str(tmp_path): "a folder, not a regular file",
            "s.jpg": "a socket, not a regular file",
            "long.jpg": "name too long",
            "loop.jpg": "symbolic links",
            "nul\0.jpg": "not a file name",
        }.items():
            with pytest.raises(SourceError, match=f"(?i){says}"):
                load_image(Path(path))


def test_a_picture_comes_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    data = cv2.imencode(".png", grey(77))[1].tobytes()
    writer = threading.Thread(target=(tmp_path / "p").write_bytes, args=(data,))
    writer.start()
    assert np.array_equal(load_image(tmp_path / "p"), grey(77))
    writer.join(10)


def test_a_pipe_that_nobody_writes_to_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(SourceError, match=r"nothing came through this pipe within 0\.05 s"):
        load_image(tmp_path / "p", pipe_timeout_s=0.05)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(64, 48))
    (tmp_path / "bad.png").write_bytes(b"rubbish")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a.png", "bad.png", ".", "gone") * 5:
        try:
            load_image(tmp_path / name)
        except SourceError:
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_a_decoder_dislikes_is_not_printed_by_it(
    astronaut: Pixels, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    packed = tmp_path / "packed.tif"
    Image.fromarray(astronaut[..., ::-1]).save(packed, compression="tiff_lzw")
    content = bytearray(packed.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 400] = bytes(range(200)) * 2
    packed.write_bytes(content)
    with suppress(SourceError):
        load_image(packed)
    assert capfd.readouterr().err == ""

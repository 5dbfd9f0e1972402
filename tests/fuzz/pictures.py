"""Pictures: the demo portrait in every format that Pillow writes, damaged; and files that only look like pictures."""

import io
import random
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.command import Sandbox
from tests.fuzz.mutate import damaged
from tests.fuzz.result import Result

BATCH = 50
CEILING_MIB = 2048
_POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 64 64
%%Pages: 1
%%EndComments
(escaped.txt) (w) file dup (out) writestring closefile
(%pipe%touch escaped-by-pipe) (r) file
{ } loop
showpage
%%EOF
"""


@cache
def portrait(side: int = 160) -> Image.Image:
    from skimage.data import astronaut

    return Image.fromarray(astronaut()[:300, 60:360]).resize((side, side), Image.Resampling.BOX)


@cache
def sound() -> dict[str, bytes]:
    """File suffix -> a sound picture."""
    colour = portrait()
    kinds: dict[str, tuple[Image.Image, str, dict[str, object]]] = {
        "jpg": (colour, "JPEG", {}), "progressive.jpg": (colour, "JPEG", {"progressive": True}),
        "grey.jpg": (colour.convert("L"), "JPEG", {}), "cmyk.jpg": (colour.convert("CMYK"), "JPEG", {}),
        "png": (colour, "PNG", {}), "palette.png": (colour.convert("P"), "PNG", {}),
        "alpha.png": (colour.convert("RGBA"), "PNG", {}), "deep.png": (_deep(colour), "PNG", {}),
        "webp": (colour, "WEBP", {}), "lossless.webp": (colour, "WEBP", {"lossless": True}),
        "bmp": (colour, "BMP", {}), "tif": (colour, "TIFF", {}),
        "lzw.tif": (colour, "TIFF", {"compression": "tiff_lzw"}),
        "jpeg.tif": (colour, "TIFF", {"compression": "jpeg"}), "deep.tif": (_deep(colour), "TIFF", {}),
        "gif": (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        "ppm": (colour, "PPM", {}), "tga": (colour, "TGA", {}), "ico": (colour, "ICO", {}), "pcx": (colour, "PCX", {}),
        "jp2": (colour, "JPEG2000", {}), "avif": (colour, "AVIF", {"speed": 10}), "sgi": (colour, "SGI", {}),
        "dib": (colour, "DIB", {}), "icns": (colour, "ICNS", {}),
        "mpo": (colour, "MPO", {"save_all": True, "append_images": [colour]}), "dds": (colour, "DDS", {}),
    }  # fmt: skip
    found = {}
    for suffix, (picture, name, options) in kinds.items():
        target = io.BytesIO()
        try:
            picture.save(target, name, **options)
        except (KeyError, OSError, ValueError):  # a format that this build of Pillow does not write
            continue
        found[suffix] = target.getvalue()
    return found


def _deep(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _giant_png(chance: random.Random) -> bytes:
    """A header that promises far more pixels than there are, its checksum right; rows of zeros behind it."""
    size = [chance.choice((0, 1, 4096, 20_000, 60_000, 0x7FFFFFFF, 0xFFFFFFFF)) for _ in range(2)]
    header = struct.pack(">IIBBBBB", *size, chance.choice((1, 8, 16)), chance.choice((0, 2, 3, 6)), 0, 0, 0)
    rows = zlib.compress(bytes(chance.choice((0, 10_000, 20_000_000))), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _bomb_png(_chance: random.Random) -> bytes:
    """Text in a chunk that unpacks to 200 MB."""
    content = sound()["png"]
    text = _chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 9))
    return content[:33] + text + content[33:]


def _giant_header(chance: random.Random) -> bytes:
    """The sizes in a JPEG, BMP, GIF, PPM or TIFF header become others."""
    kind = chance.choice(("jpg", "bmp", "gif", "ppm", "tif"))
    data, size = bytearray(sound()[kind]), [chance.choice((0, 1, 3, 30_000, 65_535)) for _ in range(2)]
    if kind == "ppm":
        return b"P6\n%d %d\n255\n" % tuple(s * chance.choice((1, 100_000)) for s in size) + bytes(data[15:])
    if kind == "tif":
        data = bytearray(data.replace(struct.pack("<HHIHH", 256, 4, 1, 160, 0), struct.pack("<HHII", 256, 4, 1, 10**6)))
        return bytes(data.replace(struct.pack("<HHI", 256, 3, 1), struct.pack("<HHI", 256, 4, 1)))
    if kind == "jpg":
        place = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
        data[place + 5 : place + 9] = struct.pack(">HH", *size)
    elif kind == "bmp":
        data[18:26] = struct.pack("<ii", *(s * chance.choice((1, 1, -1, 30_000)) for s in size))
    else:
        data[6:10] = struct.pack("<HH", *size)
    return bytes(data)


def _turned(chance: random.Random) -> bytes:
    """EXIF data with an orientation that there is not, or none at all behind the mark."""
    exif = Image.Exif()
    exif[0x0112] = chance.choice((0, 3, 8, 9, 65_535))
    blob = exif.tobytes()
    target = io.BytesIO()
    portrait().save(target, "JPEG", exif=blob if chance.random() < 0.5 else damaged(blob, chance))
    return target.getvalue()


def _other(chance: random.Random) -> bytes:
    """What is no picture at all."""
    return chance.choice(
        (
            b"", b"\0" * 5000, chance.randbytes(3000), _POSTSCRIPT, b"\xc5\xd0\xd3\xc6" + _POSTSCRIPT,
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"<!DOCTYPE html><html></html>", b"%PDF-1.7\n", b"PK\x03\x04", b"\x7fELF", b"GIF89a", b"BM",
            b"P6 1 1 255\n", b"P7\nWIDTH 99999\n", b"II*\0\x08\0\0\0\xff\xff", b"RIFF\xff\xff\xff\xffWEBPVP8 ",
            b"8BPS\0\1" + bytes(20), b"SIMPLE  =                    T", b"\0\0\0 ftypavif" + bytes(40),
        )
    )  # fmt: skip


def _swapped(chance: random.Random) -> bytes:
    """The first bytes of one format before the rest of another."""
    one, other = chance.sample(sorted(sound().values()), 2)
    length = chance.choice((2, 4, 8, 16, 64))
    return one[:length] + other[length:]


def make(number: int, chance: random.Random, folder: Path) -> Path:
    """Write picture `number`; every twentieth is sound."""
    suffix = chance.choice(sorted(sound()))
    content = sound()[suffix]
    special = (_giant_png, _giant_header, _giant_header, _turned, _other, _other, _swapped, _swapped, _bomb_png)
    if number % 20 and chance.random() < 0.3:
        content = chance.choice(special)(chance)
        suffix = chance.choice((suffix, "jpg", "png", "eps"))
    elif number % 20:
        content = damaged(content, chance, sorted(sound().values()))
    path = folder / f"{number}.{suffix}"
    path.write_bytes(content)
    return path


def judge(paths: list[Path], box: Sandbox, patience_s: float) -> Result:
    """One command on all of them, every other with annotated copies."""
    copies = int(paths[0].name.split(".")[0]) % (2 * BATCH) >= BATCH
    words = ["image", *paths, "--format", "jsonl", *(["--output-dir", "out"] if copies else [])]
    done = box.run(words, outputs=lambda name: copies and name.startswith("out/"), ceiling_mib=CEILING_MIB,
                   patience_s=patience_s)  # fmt: skip
    if done.code is None or done.code < 0:
        return Result.of(done, [])
    faults, bad = [], 0
    try:
        judged = {found["path"]: found for found in done.json_lines()}
    except (ValueError, TypeError, KeyError) as error:
        return Result.of(done, [f"stdout is not JSON Lines: {error}"])
    for path in paths:
        lines = [line for line in done.errors if line.startswith(f"error: {path}: ")]
        bad += bool(lines)
        if len(lines) + (str(path) in judged) != 1:
            faults.append(f"{path.name}: {len(lines)} error lines, {'' if str(path) in judged else 'not '}judged")
        for face in judged.get(str(path), {}).get("faces", ()):
            if not (0 <= face["score"] <= 1 and 0 <= face["mask_probability"] <= 1):
                faults.append(f"{path.name}: {face}")
    if len(done.errors) != bad or (done.code, bad > 0) not in ((0, False), (4, True)):
        faults.append(f"exit code {done.code}, {bad} bad pictures, {len(done.errors)} error lines")
    if copies and len([path for path in (box.work / "out").glob("*") if path.stat().st_size]) != len(judged):
        faults.append("not as many annotated copies as pictures that were judged")
    return Result.of(done, faults)

"""Pictures on disk: takes a path, gives uint8 (H, W, 3) BGR pixels or one clear `SourceError`.

All pictures are decoded here, and by their content: Pillow knows dozens of formats, of which PostScript even runs
programs, so it is given a list of those that may be tried.
"""

import io
import logging
import os
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_app.capture.input_files import is_pipe, open_regular, wait_for_data
from edge_app.errors import SourceError, first_line
from edge_app.records import Pixels
from edge_app.shared_libraries import loaded

FORMATS = {  # Pillow's name: ours; JPEG opens MPO too, the several JPEG pictures that phones and 3D cameras make
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WEBP": "WebP",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "GIF": "GIF",
    "AVIF": "AVIF",
    "JPEG2000": "JPEG 2000",
}
MAX_PIXELS = 89_000_000  # decoding needs 7 bytes for each: 620 MB
MAX_SIDE = 65_535  # pixels; the longest that JPEG can have, and OpenCV scales
MAX_BYTES = 600_000_000  # such a picture stored without compression, 16 bits a channel

PIPE_TIMEOUT_S = 10.0  # how long a pipe may say nothing
_BAND = 256  # rows converted at a time, so that there is never a second copy of the whole picture
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_OTHER_FORMATS = {
    b"%!": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\x76\x2f\x31\x01": "OpenEXR",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"<svg": "SVG",
    b"\x00\x00\x01\x00": "icon",
}


def load_image(path: Path, pipe_timeout_s: float = PIPE_TIMEOUT_S) -> Pixels:
    """Decode one picture by its content, whatever its name, and turn it upright as its EXIF data says.

    pipe_timeout_s: how long the first byte of a named pipe is waited for, seconds.

    Returns:
        uint8 (H, W, 3) BGR, contiguous. Grey, palette, 16-bit and transparent pictures are converted; of several
        pictures in a file, the first is taken.

    Raises:
        SourceError: no such file, not a regular file, not a picture in one of `FORMATS`, cut off, 32 bits a channel,
            or beyond one of the limits above, which are checked in the header so that a small hostile file cannot
            fill the memory. Or a pipe that nobody writes to in time.
    """
    with open_regular(str(path), str(path), pipes=True) as opened:
        file: BinaryIO = opened
        if is_pipe(opened):  # decoders go back and forth
            wait_for_data(opened, str(path), pipe_timeout_s)
            file = io.BytesIO(opened.read(MAX_BYTES + 1))
        return _read(file, str(path))


def decode_image(content: bytes, shown: str) -> Pixels:
    """The same of a picture in memory; shown: what messages call it."""
    return _read(io.BytesIO(content), shown)


def _read(file: BinaryIO, shown: str) -> Pixels:
    if file.seek(0, os.SEEK_END) > MAX_BYTES:
        raise SourceError(f"{shown}: more than {MAX_BYTES // 1_000_000} MB: not a picture, or use a smaller one")
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(file)
    except SourceError as error:
        raise SourceError(f"{shown}: {error}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise SourceError(f"{shown}: {_too_large()}") from None
    except UnidentifiedImageError:
        raise SourceError(f"{shown}: {_why_unknown(file)}") from None
    except MemoryError:
        raise SourceError(f"{shown}: too little memory to decode it: use a smaller picture") from None
    except Exception as error:  # damaged files raise anything from OSError to struct.error
        raise SourceError(f"{shown}: damaged picture ({first_line(error)})") from None


def is_animation(path: str) -> bool:
    """Whether a file is a GIF or AVIF of several pictures: a film, which FFmpeg plays."""
    if Path(path).suffix.lower() not in (".gif", ".avif") or not os.path.isfile(path):  # noqa: PTH113  a FIFO would wait
        return False
    with suppress(Exception), warnings.catch_warnings():  # whatever is wrong with it is said when it is opened
        warnings.simplefilter("ignore")
        with Image.open(path, formats=[name for name in ("GIF", "AVIF") if name in supported()]) as picture:
            return bool(getattr(picture, "is_animated", False))
    return False


@lru_cache
def supported() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow can decode. Asked before the first picture, it makes the libraries silent."""
    logging.getLogger("PIL").setLevel(logging.WARNING)
    Image.init()
    for library in loaded("/libtiff"):  # it prints what it dislikes about a file; we say so in our own line
        with suppress(AttributeError):
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _decode(file: BinaryIO) -> Pixels:
    with Image.open(file, formats=supported()) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise SourceError(_too_large())
        if max(picture.size) > MAX_SIDE:
            raise SourceError(f"a side of more than {MAX_SIDE} pixels: use a smaller picture")
        # Pillow below 11 opens 16-bit grey PNG pictures as I.
        if picture.mode == "F" or (picture.mode == "I" and picture.format != "PNG"):
            raise SourceError("32-bit pictures are not supported: save it with 8 or 16 bits a channel")
        if picture.mode == "LAB":
            raise SourceError("pictures in Lab colours are not supported: save it as RGB")
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        pixels = np.empty((picture.height, picture.width, 3), np.uint8)
        for top in range(0, picture.height, _BAND):
            band = picture.crop((0, top, picture.width, min(top + _BAND, picture.height)))
            if band.mode.startswith("I"):  # 16 bits, which Pillow would clip to 255
                pixels[top : top + _BAND] = (np.asarray(band) >> 8).astype(np.uint8)[..., None]
            else:
                pixels[top : top + _BAND] = np.asarray(band.convert("RGB"), np.uint8)[..., ::-1]
        return pixels


def _too_large() -> str:
    return f"more than {MAX_PIXELS // 1_000_000} megapixels: use a smaller picture"


def _why_unknown(file: BinaryIO) -> str:
    """What to say of content that none of the decoders takes."""
    file.seek(0)
    head = file.read(16)
    known = next((name for start, name in _OTHER_FORMATS.items() if head.startswith(start)), None)
    if head[4:8] == b"ftyp":
        known = {b"avif": "AVIF", b"avis": "AVIF"}.get(head[8:12])
        known = "HEIC" if head[8:12] in _HEIC_BRANDS else known
    if known:
        return f"{known} pictures are not supported: save it as JPEG or PNG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return f"{_kind_of_tiff(file)} are not supported: save it as JPEG, PNG, or TIFF of 8 bits a channel"
    return f"not a picture in any known format; known are {', '.join(FORMATS[name] for name in supported())}"


def _kind_of_tiff(file: BinaryIO) -> str:
    from PIL.TiffImagePlugin import BITSPERSAMPLE, ImageFileDirectory_v2

    try:
        file.seek(0)
        head = file.read(8)
        if head[2:3] == b"+" or head[3:4] == b"+":
            head += file.read(8)
        tags = ImageFileDirectory_v2(head)
        file.seek(tags.next)
        tags.load(file)
        return f"TIFF pictures with {max(tags[BITSPERSAMPLE])}-bit channels of this kind"
    except Exception:  # a damaged directory says nothing
        return "TIFF pictures of this kind"


def to_bgr(image: npt.NDArray[np.generic]) -> Pixels:
    """Any frame a decoder gives, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), 8 or 16 bits -> uint8 (H, W, 3) BGR."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)  # type: ignore[operator]
    elif image.dtype != np.uint8:
        raise SourceError(f"frames of type {image.dtype} are not supported, only 8 and 16 bits")
    pixels: Pixels = image  # type: ignore[assignment]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3:
        return pixels
    if channels not in (1, 4):
        raise SourceError(f"frames with {channels} channels are not supported, only 1, 3 and 4")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR), np.uint8)

"""Pictures on disk: takes a path, gives uint8 (H, W, 3) BGR pixels or one clear `SourceError`."""

import io
import logging
import warnings
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_app.errors import SourceError

Picture = npt.NDArray[np.uint8]
_DEEP_MODES = ("I", "F")  # 16 and 32 bits a channel: Pillow would clip what OpenCV scales

logging.getLogger("PIL").setLevel(logging.WARNING)


def load_image(path: Path) -> Picture:
    """Decode one picture by its content, whatever its name, and turn it upright as its EXIF data says.

    Returns:
        uint8 (H, W, 3) BGR, contiguous. Grey, palette, 16-bit and transparent pictures are converted.

    Raises:
        SourceError: no such file, not a picture, cut off, or larger than Pillow's limit of about 89 megapixels,
            which is checked in the header so that a small hostile file cannot fill the memory.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise SourceError(f"{path}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _decode(data)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        limit = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise SourceError(f"{path}: more than {limit} megapixels: use a smaller picture") from None
    except UnidentifiedImageError:
        raise SourceError(f"{path}: not a picture in any known format") from None
    except Exception as error:  # damaged files raise anything from OSError to struct.error
        raise SourceError(f"{path}: damaged picture ({error})") from None


def _decode(data: bytes) -> Picture:
    with Image.open(io.BytesIO(data)) as picture:
        if picture.mode.startswith(_DEEP_MODES):
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if decoded is None:
                raise ValueError("its pixels cannot be decoded")
            return np.ascontiguousarray(decoded, np.uint8)
        upright = ImageOps.exif_transpose(picture).convert("RGB")
        return np.ascontiguousarray(np.asarray(upright, np.uint8)[..., ::-1])


def to_bgr(image: npt.NDArray[np.generic]) -> Picture:
    """Any frame a decoder gives, (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), 8 or 16 bits -> uint8 (H, W, 3) BGR."""
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)  # type: ignore[operator]
    elif image.dtype != np.uint8:
        raise SourceError(f"frames of type {image.dtype} are not supported, only 8 and 16 bits")
    pixels: Picture = image  # type: ignore[assignment]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if channels == 3:
        return pixels
    if channels not in (1, 4):
        raise SourceError(f"frames with {channels} channels are not supported, only 1, 3 and 4")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR), np.uint8)

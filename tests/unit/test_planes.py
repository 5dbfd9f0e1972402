"""Pictures of YUV planes against the exact conversion, and the orientation of frames."""

import struct
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from edge_app.capture.colours import Converter, first_field, luma_weights, orientation
from edge_app.planes import BgrPicture, YuvPicture, as_picture, shrink, ycgco_to_bgr, yuv_to_bgr

Plane = npt.NDArray[np.uint8]

SUBSAMPLINGS = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
SIZES = [(64, 48), (63, 47), (61, 50), (4, 4), (5, 3), (1, 1), (2, 7)]


def planes_of(width: int, height: int, across: int, down: int) -> tuple[Plane, Plane, Plane]:
    """Luma that is noise, chroma that is smooth: what interpolation makes of that is nearly the same by any way."""
    rng = np.random.default_rng(width * 100 + height)
    rows, columns = -(-height // down), -(-width // across)
    down_up, left_right = np.mgrid[:rows, :columns].astype(float)
    u = 90 + 60 * down_up / max(rows, 2) + 20 * left_right / max(columns, 2)
    v = 160 - 50 * left_right / max(columns, 2)
    return rng.integers(16, 236, (height, width), np.uint8), u.astype(np.uint8), v.astype(np.uint8)


def exact(
    planes: tuple[Plane, Plane, Plane], sampling: str, red: float, blue: float, full: bool
) -> npt.NDArray[np.uint8]:
    """ITU-T H.273, equation by equation; chroma by bilinear interpolation between the centres of its samples."""
    height, width = planes[0].shape
    across, down = SUBSAMPLINGS[sampling]
    y, u, v = (plane.astype(np.float64) for plane in planes)
    large = []
    for plane in (u, v):
        size = (plane.shape[1] * across, plane.shape[0] * down)
        large.append(np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))[:height, :width])
    y = y / 255 if full else (y - 16) / 219
    pb, pr = ((plane - 128) / (255 if full else 224) for plane in large)
    r, b = y + 2 * (1 - red) * pr, y + 2 * (1 - blue) * pb
    g = (y - red * r - blue * b) / (1 - red - blue)
    lost = np.array([1, 2, 1]) * 0.55 + (0 if full else 0.25)  # by rounding down, as FFmpeg does
    return np.clip(np.round(np.stack([b, g, r], 2) * 255 - lost), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("sampling", SUBSAMPLINGS)
def test_every_part_is_the_exact_conversion(sampling: str, size: tuple[int, int], full: bool) -> None:
    across, down = SUBSAMPLINGS[sampling]
    width, height = size
    planes = planes_of(width, height, across, down)
    whole = exact(planes, sampling, 0.2126, 0.0722, full).astype(int)
    picture = YuvPicture(planes, yuv_to_bgr(0.2126, 0.0722, full))
    rng = np.random.default_rng(1)
    boxes = [(0, 0, width, height), (0, 0, 1, 1), (width - 1, height - 1, width, height)]
    for _ in range(60):
        (x0, x1), (y0, y1) = np.sort(rng.integers(0, width + 1, 2)), np.sort(rng.integers(0, height + 1, 2))
        if x0 < x1 and y0 < y1:
            boxes.append((int(x0), int(y0), int(x1), int(y1)))
    for x0, y0, x1, y1 in boxes:
        part = picture.part(x0, y0, x1, y1)
        assert part.shape == (y1 - y0, x1 - x0, 3)
        assert np.abs(part - whole[y0:y1, x0:x1]).max() <= 4  # of chroma rounded to whole levels, by which 2.1 is taken
    assert (picture.width, picture.height, picture.aspect) == (width, height, 1)
    assert np.array_equal(picture.bgr(), picture.part(0, 0, width, height))
    assert picture.bgr() is picture.bgr()


@pytest.mark.parametrize("size", [(640, 480), (641, 479), (322, 242), (1280, 720)], ids=str)
@pytest.mark.parametrize("sampling", SUBSAMPLINGS)
def test_shrinking_is_the_exact_picture_shrunk(sampling: str, size: tuple[int, int]) -> None:
    planes = planes_of(*size, *SUBSAMPLINGS[sampling])
    luma = np.asarray(cv2.GaussianBlur(planes[0], (0, 0), 3), np.uint8)
    planes = (luma, *planes[1:])
    picture = YuvPicture(planes, yuv_to_bgr(0.299, 0.114, False))
    whole = exact(planes, sampling, 0.299, 0.114, False)
    for width, height in ((320, 240), (320, 180), (100, 37)):
        small = picture.shrunk((width, height))
        assert small.shape == (height, width, 3)
        wanted = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)).astype(int)
        assert np.abs(small - wanted).mean() < 1.5
        assert np.abs(BgrPicture(whole).shrunk((width, height)) - wanted).mean() < 1.5


def test_shrinking_keeps_what_has_its_size() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert np.array_equal(shrink(image, (4, 4)), image)


def test_ycgco() -> None:
    red, green, blue = 200, 90, 40
    y, cg, co = (red + 2 * green + blue) / 4, (2 * green - red - blue) / 4, (red - blue) / 2
    planes = tuple(np.full((2, 2), round(value), np.uint8) for value in (y, cg + 128, co + 128))
    picture = YuvPicture(planes, ycgco_to_bgr(full_range=True))  # type: ignore[arg-type]
    assert np.abs(picture.bgr()[0, 0].astype(int) - (blue, green, red)).max() <= 1


def test_an_array_is_a_picture() -> None:
    image = np.zeros((3, 5, 3), np.uint8)
    picture = as_picture(image)
    assert (picture.width, picture.height, picture.aspect) == (5, 3, 1)
    assert picture.bgr() is image
    assert as_picture(picture) is picture


@pytest.mark.parametrize(
    ("primaries", "red", "blue"),
    [(5, 0.2220, 0.0713), (6, 0.2124, 0.0866), (9, 0.2627, 0.0593), (12, 0.2290, 0.0793)],
)
def test_weights_that_follow_from_primaries(primaries: int, red: float, blue: float) -> None:
    assert luma_weights(primaries) == pytest.approx((red, blue), abs=6e-4)


class Turned:
    """A frame that has only a display matrix."""

    def __init__(self, a: int, b: int, c: int, d: int) -> None:
        one = 1 << 16
        self.side_data = {
            Type.DISPLAYMATRIX: struct.pack("=9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
        }


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_orientation_is_where_the_matrix_puts_each_pixel(quarters: int, mirrored: bool) -> None:
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    wanted = np.rot90(image[:, ::-1] if mirrored else image, quarters)
    # FFmpeg: the pixel at (x, y) is shown at (a x + c y, b x + d y), but for a shift.
    signs = (-1, 0, 1)
    for a, b, c, d in ((a, b, c, d) for a in signs for b in signs for c in signs for d in signs):
        if abs(a * d - b * c) != 1 or abs(a) + abs(b) + abs(c) + abs(d) != 2:
            continue
        places = {(a * x + c * y, b * x + d * y): image[y, x] for y in range(2) for x in range(3)}
        left, top = min(x for x, _ in places), min(y for _, y in places)
        shown = np.zeros((3, 2) if b else (2, 3), np.uint8)
        for (x, y), value in places.items():
            shown[y - top, x - left] = value
        if shown.shape == wanted.shape and np.array_equal(shown, wanted):
            assert orientation(Turned(a, b, c, d)) == (quarters, mirrored)  # type: ignore[arg-type]
            return
    pytest.fail("no matrix gives this orientation")


def test_a_frame_without_a_matrix_is_upright() -> None:
    assert orientation(VideoFrame(16, 16, "yuv420p")) == (0, False)


@pytest.mark.parametrize("height", [1, 2, 3, 8, 9])
def test_a_field_keeps_its_own_lines(height: int) -> None:
    plane = np.random.default_rng(height).integers(0, 256, (height, 7), np.uint8)
    before = plane.copy()
    made = first_field(plane)
    assert np.array_equal(plane, before)
    assert np.array_equal(made[::2], plane[::2])
    for row in range(1, height, 2):
        beside = plane[row - 1].astype(int), plane[min(row + 1, (height - 1) // 2 * 2)].astype(int)
        assert np.abs(made[row] - sum(beside) / 2).max() <= 0.5


def test_many_threads_may_ask_for_pictures_at_once() -> None:
    """Frames are decoded in one thread while others make pictures of earlier ones."""
    images = np.random.default_rng(0).integers(0, 256, (40, 90, 160, 3), np.uint8)

    def frames() -> list[VideoFrame]:
        kinds = ("yuv420p", "yuv420p10le", "yuv422p", "nv12") * 10
        whole = (VideoFrame.from_ndarray(image, format="bgr24") for image in images)
        return [frame.reformat(format=kind) for frame, kind in zip(whole, kinds, strict=True)]

    one_by_one = Converter("film")
    wanted = [one_by_one(frame).bgr() for frame in frames()]
    convert = Converter("film")
    with ThreadPoolExecutor(4) as pool:
        made = [[pool.submit(picture.bgr) for _ in range(3)] for picture in map(convert, frames())]
    for asked, whole in zip(made, wanted, strict=True):
        assert all(np.array_equal(future.result(), whole) for future in asked)

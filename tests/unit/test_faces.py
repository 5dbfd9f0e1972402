"""The pixel contract: what the classifier sees of a face."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.inference.model import Model
from edge_app.vision.crops import (
    CROP_MARGIN,
    CROP_SIZE,
    PIXEL_MEAN,
    PIXEL_SCALE,
    crop_face,
    crop_faces,
    to_network_input,
)
from tests.media import Pixels

SIDE = 86  # a box this long makes a square of exactly CROP_SIZE, so pixels are copied and not resized


def numbered(height: int, width: int) -> Pixels:
    """Every pixel tells its place: blue is the column, green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    return image


def box(centre_x: float, centre_y: float, width: float = SIDE, height: float = SIDE) -> np.ndarray:
    return np.array([centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2])


@pytest.mark.parametrize(("width", "height"), [(SIDE, SIDE), (SIDE, 20), (20, SIDE)])
def test_the_square_is_centred_and_goes_by_the_longer_side(width: int, height: int) -> None:
    image = numbered(220, 250)
    crop = crop_face(image, box(120, 100, width, height))
    assert np.array_equal(crop, image[44:156, 64:176])


@pytest.mark.parametrize(
    ("centre", "columns", "rows"),
    [
        ((30, 100), np.clip(np.arange(-26, 86), 0, None), np.arange(44, 156)),
        ((220, 100), np.clip(np.arange(164, 276), None, 249), np.arange(44, 156)),
        ((120, 20), np.arange(64, 176), np.clip(np.arange(-36, 76), 0, None)),
        ((120, 210), np.arange(64, 176), np.clip(np.arange(154, 266), None, 219)),
        ((0, 0), np.clip(np.arange(-56, 56), 0, None), np.clip(np.arange(-56, 56), 0, None)),
    ],
    ids=["left", "right", "top", "bottom", "corner"],
)
def test_the_nearest_pixels_are_repeated_outside(
    centre: tuple[int, int], columns: np.ndarray, rows: np.ndarray
) -> None:
    crop = crop_face(numbered(220, 250), box(*centre))
    assert np.array_equal(crop[0, :, 0], columns)
    assert np.array_equal(crop[:, 0, 1], rows)


def test_a_box_wholly_outside_repeats_the_corner() -> None:
    crop = crop_face(numbered(220, 250), box(-5000, 9000))
    assert np.array_equal(crop, np.broadcast_to(np.array([0, 219, 0], np.uint8), crop.shape))


def test_shrinking_averages_all_pixels() -> None:
    # One bright pixel in sixteen: sampling would give 240 or 0, averaging gives 15 everywhere.
    image = np.zeros((448, 448, 3), np.uint8)
    image[::4, ::4] = 240
    crop = crop_face(image, np.array([51.5, 51.5, 396.5, 396.5]))
    assert np.array_equal(crop, np.full((CROP_SIZE, CROP_SIZE, 3), 15, np.uint8))


@given(
    corner=st.tuples(st.floats(-300, 300), st.floats(-300, 300)),
    sides=st.tuples(st.floats(0, 400), st.floats(0, 400)),
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_any_box_on_any_image_gives_a_square_of_its_pixels(
    corner: tuple[float, float], sides: tuple[float, float], shape: tuple[int, int]
) -> None:
    image = numbered(*shape) + np.uint8(10)
    crop = crop_face(image, np.array([*corner, corner[0] + sides[0], corner[1] + sides[1]]), size=24)
    assert (crop.shape, crop.dtype.name) == ((24, 24, 3), "uint8")
    assert crop[..., 0].min() >= 10
    assert crop[..., 0].max() <= 9 + shape[1]
    assert crop[..., 1].max() <= 9 + shape[0]


def test_a_batch_is_its_single_crops_in_order() -> None:
    image = numbered(220, 250)
    boxes = np.stack([box(120, 100), box(30, 60, 40, 50), box(240, 10)]).astype(np.float32)
    crops = crop_faces(image, boxes, 64)
    assert (crops.shape, crops.dtype.name) == ((3, 64, 64, 3), "uint8")
    for crop, one in zip(crops, boxes, strict=True):
        assert np.array_equal(crop, crop_face(image, one, 64))


def test_no_face_is_an_empty_batch() -> None:
    crops = crop_faces(numbered(50, 50), np.zeros((0, 4), np.float32))
    assert (crops.shape, crops.dtype.name) == ((0, CROP_SIZE, CROP_SIZE, 3), "uint8")
    network = to_network_input(crops)
    assert (network.shape, network.dtype.name) == ((0, 3, CROP_SIZE, CROP_SIZE), "float32")


def test_the_network_gets_rgb_planes_from_minus_one_to_one() -> None:
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    crops[1] = (0, 127, 255)  # BGR
    network = to_network_input(crops)
    assert (network.shape, network.dtype.name) == ((2, 3, 8, 8), "float32")
    assert network.flags.c_contiguous
    assert network[0, 0, 0, 0] == -1.0
    assert network[1, :, 3, 5] == pytest.approx([1.0, -1 / 255, -1.0])


def test_the_manifest_of_the_default_model_tells_this_contract(models: Path) -> None:
    told = Model(models / "mask_classifier").manifest.input
    assert (told.mean, told.scale, told.crop_margin) == (PIXEL_MEAN, PIXEL_SCALE, CROP_MARGIN)
    assert (told.colour, told.shape[1:]) == ("RGB", [3, CROP_SIZE, CROP_SIZE])

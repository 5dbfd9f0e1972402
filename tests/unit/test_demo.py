"""The demo film: the same every time, a face that moves and grows, a mask for part of it."""

import numpy as np
import pytest

from edge_app.capture import demo
from edge_app.capture.open import open_source, parse_source
from edge_app.config.settings import SourceSettings
from tests.media import Pixels


def test_the_film_is_the_same_every_time(astronaut: Pixels) -> None:
    first, second = demo.DemoSource(), demo.DemoSource()
    for _ in range(3):
        (a, time_a), (b, time_b) = first.read() or (astronaut, 0), second.read() or (astronaut, 0)
        assert np.array_equal(a, b)
        assert time_a == time_b


def test_it_is_like_a_file_of_20_seconds(astronaut: Pixels) -> None:
    with open_source(parse_source("demo"), SourceSettings()) as source:
        info = source.info
        image, time = source.read() or (astronaut, 1.0)
        assert (info.live, info.width, info.height, info.fps, info.frame_count) == (False, 1280, 720, 25.0, 500)
        assert (image.shape, image.dtype, time) == ((720, 1280, 3), np.uint8, 0.0)
        source.close()
        assert source.read() is None


def test_the_mask_covers_nose_to_chin_and_not_the_eyes(astronaut: Pixels) -> None:
    bare, masked = demo.portrait(masked=False), demo.portrait(masked=True)
    changed = np.abs(bare.astype(int) - masked).sum(axis=2) > 30
    assert changed[120:175, 140:190].mean() > 0.95
    assert not changed[70:98].any()
    assert not changed[190:].any()
    assert np.array_equal(demo.draw_mask(bare), masked)


def test_the_mask_is_worn_in_the_middle_of_the_film(astronaut: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "FRAMES", 20)  # the same film, fewer pictures of it
    source = demo.DemoSource()
    blue = [
        int(((image[..., 0] > 150) & (image[..., 0].astype(int) - image[..., 2] > 35)).sum())
        for image, _ in iter(source.read, None)
    ]
    assert [count > 1000 for count in blue] == [False] * 6 + [True] * 9 + [False] * 5

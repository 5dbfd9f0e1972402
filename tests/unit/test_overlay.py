"""The drawing: every verdict visible, the frame itself untouched."""

import numpy as np
import pytest

from edge_app.outputs.overlay import annotate, annotate_image
from edge_app.records import Label
from tests.media import frame, grey, result


def test_an_empty_result_is_a_copy() -> None:
    at = frame()
    drawn = annotate(result(at))
    assert np.array_equal(drawn, at.image)
    assert drawn is not at.image


@pytest.mark.parametrize(
    ("label", "colour"), [("mask", (115, 158, 0)), ("no_mask", (0, 94, 213)), ("unsure", (0, 159, 230))]
)
def test_the_box_has_the_colour_of_its_verdict(label: Label, colour: tuple[int, int, int]) -> None:
    at = frame(image=grey(90, 640, 480))
    before = at.image.copy()
    drawn = annotate(result(at, (3, label, 0.9), box=(200, 200, 300, 300)))
    assert np.array_equal(at.image, before)
    assert tuple(drawn[250, 200]) == colour  # left edge
    assert tuple(drawn[250, 250]) == (90, 90, 90)  # inside
    assert (drawn[150:199, 200:300] == colour).all(axis=2).any()  # the text's ground


def test_unconfirmed_and_outlying_faces_are_drawn_too() -> None:
    at = frame(image=grey(90, 640, 480))
    drawn = annotate(result(at, (-1, "unsure", 0.5), box=(-40, -40, 900, 900)))
    assert drawn.shape == at.image.shape


def test_while_the_verdict_is_open_no_number_is_shown() -> None:
    at = frame(image=grey(90, 640, 480))
    drawn = [annotate(result(at, (3, "unsure", p), box=(200, 200, 300, 300))) for p in (0.01, 0.5, 0.99)]
    assert np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn[0], drawn[2])
    sure = [annotate(result(at, (3, "mask", p), box=(200, 200, 300, 300))) for p in (0.7, 0.99)]
    assert not np.array_equal(*sure)
    pictures = [result(frame(), (1, "unsure", p)).detections for p in (0.3, 0.6)]
    assert np.array_equal(*(annotate_image(grey(90, 160, 120), found, ["unsure"]) for found in pictures))


def test_a_picture_is_drawn_with_its_labels() -> None:
    found = result(frame(), (1, "mask", 0.97), (2, "no_mask", 0.02)).detections
    drawn = annotate_image(grey(90, 160, 120), found, ["mask", "no_mask"])
    assert drawn.shape == (120, 160, 3)
    assert not np.array_equal(drawn, grey(90, 160, 120))

"""What is shown of text that a terminal would obey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.text import one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clip 1.mp4", "clip 1.mp4"),
        ("Tür – 入口 👷‍♀️.mp4", "Tür – 入口 👷‍♀️.mp4"),
        ("\x1b]0;title\x07.mp4", r"\x1b]0;title\x07.mp4"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("caf\udce9.mp4", r"caf\xe9.mp4"),
        ("\x9b31m", r"\x9b31m"),
        ("gpj\u202e", r"gpj\u202e"),
        ("\ud800", r"\ud800"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_of_a_message_are_joined_and_spaces_of_a_name_kept() -> None:
    assert one_line(" a  b.mp4:\n  no such file\r\n") == "a  b.mp4: no such file"


@given(st.text(st.characters()))
def test_any_text_can_be_encoded_and_holds_no_control_character(text: str) -> None:
    shown = printable(text)
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
    shown.encode("utf-8")

"""Text for people: what a terminal would obey, or not show at all, is written as an escape."""

import re

# Control characters, lone surrogates (bytes of a file name that are no UTF-8), ends of lines, turns of direction.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE_END = re.compile(r"\s*[\r\n]+\s*")


def printable(text: str) -> str:
    r"""`\x1b[2J` and the byte `\xe9` of a name stand there as these four characters; other text stays as it is."""
    return _OBEYED.sub(_escape, text)


def one_line(text: str) -> str:
    """`printable`, with the lines of a message joined."""
    return printable(_LINE_END.sub(" ", text.strip()))


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    if 0xDC80 <= number <= 0xDCFF:  # how Python writes a byte that is no text
        number -= 0xDC00
    return {9: r"\t", 10: r"\n", 13: r"\r"}.get(number) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")

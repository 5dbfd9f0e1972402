"""SOURCE arguments as settings."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from edge_app.capture.open import parse_source
from edge_app.outputs.files import in_file_name
from edge_app.text import printable


def cameras_of(sources: Sequence[str]) -> list[dict[str, str]]:
    """Several SOURCE arguments as the setting `sources` has them. A file gives the camera its name.

    Raises:
        UsageError: a source that is none.
    """
    given: list[dict[str, str]] = []
    taken: set[str] = set()
    for number, uri in enumerate(sources, start=1):
        spec = parse_source(uri)
        name = f"camera{number}" if spec.live else printable(Path(spec.uri).stem) or f"source{number}"
        name = next(free for free in _numbered(name) if in_file_name(free).lower() not in taken)
        taken.add(in_file_name(name).lower())
        given.append({"uri": uri, "camera": name})
    return given


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))

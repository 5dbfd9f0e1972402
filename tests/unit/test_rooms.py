"""What every room says of itself."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_room_says_what_it_takes_and_gives() -> None:
    for path in (ROOT / "edge_app").glob("*/__init__.py"):
        assert path.read_text(encoding="utf-8").startswith('"""Takes '), path

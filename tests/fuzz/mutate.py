"""Damage to bytes of any kind, drawn from a seeded `random.Random`."""

import random
from collections.abc import Callable, Sequence

Damage = Callable[[bytearray, random.Random], None]
_LENGTHS = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 3, 10, 100))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 8))):
        data[chance.randrange(len(data))] = chance.choice((0, 0xFF, 0x7F, 0x80, chance.randrange(256)))


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.choice((chance.randrange(len(data)), chance.randrange(min(64, len(data))), len(data) - 1)) :]


def _block(data: bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(data))
    return start, min(len(data), start + chance.choice((1, 4, 16, 256, 4096, len(data) // 4 + 1)))


def _remove(data: bytearray, chance: random.Random) -> None:
    start, end = _block(data, chance)
    del data[start:end]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start, end = _block(data, chance)
    data[end:end] = data[start:end] * chance.choice((1, 2, 8))


def _clear(data: bytearray, chance: random.Random) -> None:
    start, end = _block(data, chance)
    data[start:end] = bytes([chance.choice((0, 0xFF))]) * (end - start)


def _scramble(data: bytearray, chance: random.Random) -> None:
    start, end = _block(data, chance)
    data[start:end] = chance.randbytes(end - start)


def _swap(data: bytearray, chance: random.Random) -> None:
    (a, b), (c, d) = sorted((_block(data, chance), _block(data, chance)))
    if b <= c:
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


def _length(data: bytearray, chance: random.Random) -> None:
    """A number of two, four or eight bytes becomes another, likely one that is a length: near the start, aligned."""
    width = chance.choice((2, 4, 4, 8))
    where = chance.randrange(min(len(data), chance.choice((64, 1024, len(data)))))
    where -= where % chance.choice((1, 2, 4))
    order = chance.choice(("big", "little"))
    old = int.from_bytes(data[where : where + width], order)
    new = chance.choice((*_LENGTHS, old + 1, old - 1, old * 2, old ^ (1 << chance.randrange(8 * width))))
    data[where : where + width] = (new % (1 << (8 * width))).to_bytes(width, order)


def _append(data: bytearray, chance: random.Random) -> None:
    data += chance.choice((bytes(100), chance.randbytes(1000), data[:2000], b"\r\n\r\n<html>"))


DAMAGES: tuple[Damage, ...] = (
    _flip, _flip, _set, _cut, _cut, _remove, _repeat, _clear, _scramble, _swap, _length, _length, _length, _append,
)  # fmt: skip


def damaged(content: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """One to four damages. others: files whose start or end may take the place of the content's own."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        if others and chance.random() < 0.1:
            other, place = chance.choice(others), chance.randrange(len(data) + 1)
            data = bytearray(chance.choice((other[: len(other) // 2] + data[place:], data[:place] + other[place:])))
        elif data:
            chance.choice(DAMAGES)(data, chance)
    return bytes(data)

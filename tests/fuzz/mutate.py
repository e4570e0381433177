"""Damage of the kinds that files meet on their way, and of the kinds that somebody does to them on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random

HEAD_BYTES = 1024  # where most formats keep sizes, counts and dimensions
FIELD_BYTES = (1, 2, 4, 8)


def mutants(data: bytes, seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies of a file of any kind, each with a line that says what was done to it.

    The kinds of damage take turns, so that a few copies show each of them. The same `data` and `seed` give the same
    copies; of a longer run the first are those of a shorter one.
    """
    random = Random(seed)
    for damage in islice(cycle(DAMAGES), count):
        name, damaged = damage(bytearray(data), random)
        yield name, bytes(damaged)


def flip_bits(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """One bit in about 4,000, anywhere; at least one."""
    flips = max(1, len(data) // random.choice((250, 1000, 4000)))
    for _ in range(flips if data else 0):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return f"{flips} bits flipped", data


def flip_head(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """A few bits of the beginning."""
    flips = random.choice((1, 2, 8))
    for _ in range(flips if data else 0):
        data[random.randrange(min(len(data), HEAD_BYTES))] ^= 1 << random.randrange(8)
    return f"{flips} bits flipped in the head", data


def cut(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """The beginning alone."""
    percent = random.randint(1, 99)
    return f"cut at {percent} percent", data[: len(data) * percent // 100]


def absurd_field(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """A number that some field of the head could hold, and should not: zero, the largest, one less, its sign alone."""
    size = random.choice(FIELD_BYTES)
    bits = 8 * size
    value = random.choice((0, 2**bits - 1, 2**bits - 2, 2 ** (bits - 1), 2 ** (bits - 1) - 1))
    order = random.choice(("big", "little"))
    place = random.randrange(max(min(len(data), HEAD_BYTES) - size, 1))
    data[place : place + size] = value.to_bytes(size, order)
    return f"{size} bytes at {place} are {value:#x}, {order} end first", data


def blot(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """A stretch of zeros or noise, as a lost block of a disk or a lost packet leaves it."""
    begin, end = _stretch(data, random)
    is_noise = random.random() < 0.5
    data[begin:end] = random.randbytes(end - begin) if is_noise else bytes(end - begin)
    return f"{end - begin} bytes of {'noise' if is_noise else 'zeros'} at {begin}", data


def remove(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """A stretch is gone: what follows lies elsewhere than it should."""
    begin, end = _stretch(data, random)
    del data[begin:end]
    return f"{end - begin} bytes removed at {begin}", data


def repeat(data: bytearray, random: Random) -> tuple[str, bytearray]:
    """A stretch comes twice."""
    begin, end = _stretch(data, random)
    data[end:end] = data[begin:end]
    return f"{end - begin} bytes twice at {begin}", data


DAMAGES = (flip_bits, cut, absurd_field, flip_head, blot, remove, repeat)


def _stretch(data: bytearray, random: Random) -> tuple[int, int]:
    """Where a part of 1 byte up to a third of the file lies."""
    size = random.randint(1, max(len(data) // random.choice((3, 30, 300)), 1))
    begin = random.randrange(max(len(data) - size, 1))
    return begin, min(begin + size, len(data))

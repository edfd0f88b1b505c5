"""Blind mutation of a corpus: what the suite and the sanitizers run, where no coverage guides."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

INPUT_MAX = 4_096


def corpus(folder: Path) -> list[bytes]:
    """Its files, in the order of their names."""
    return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []


def inputs(folder: Path, seed: int) -> Iterator[bytes]:
    """The corpus as it is, then mutants of it for ever, the same for the same seed."""
    numbers, originals = random.Random(seed), corpus(folder)
    yield from originals
    while True:
        if not originals or numbers.random() < 0.05:
            yield numbers.randbytes(numbers.randrange(300))
        else:
            yield mutant(numbers, numbers.choice(originals), numbers.choice(originals))


def mutant(numbers: random.Random, one: bytes, other: bytes) -> bytes:
    """`one` with a few changes, some of them taken from `other`."""
    data = bytearray(one)
    for _ in range(1 << numbers.randrange(5)):
        at, size = numbers.randrange(len(data) + 1), 1 << numbers.randrange(6)
        match numbers.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << numbers.randrange(8)
            case 1:
                data[at : at + 1] = numbers.randbytes(1)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[numbers.randrange(len(data) + 1) :][:size]
            case 4:
                data[at:at] = numbers.randbytes(size)
            case 5:
                data[at:] = other[numbers.randrange(len(other) + 1) :]
            case 6 if numbers.random() < 0.2:
                del data[at:]
    return bytes(data[:INPUT_MAX])

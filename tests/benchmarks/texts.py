"""Texts of four shapes. The generated ones are made of the words of the mixed file, the same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

SHAPES = ("mixed", "short", "long", "duplicates")
SHORT_WORDS, LONG_WORDS = 11, 300  # about 15 and 400 tokens
MORE = {"short": 4, "long": 0.25}  # times as many texts as mixed ones, for about as many tokens
DISTINCT = 0.2  # of the duplicates
MASKABLE_WORDS = 180  # a text whose middle word is hidden is cut to that, so that nobody cuts the mask away


def read(path: Path) -> list[str]:
    """The lines of a file that are not blank."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def count(shape: str, mixed: int) -> int:
    """As many texts of a shape as have about as many tokens as `mixed` mixed ones."""
    return max(1, round(mixed * MORE.get(shape, 1)))


def shaped(lines: Sequence[str], shape: str, count: int) -> list[str]:
    """`count` texts of a shape."""
    draw = random.Random(shape)
    if shape == "mixed":
        return list(lines[:count])
    if shape == "duplicates":
        distinct = list(lines[: max(1, int(count * DISTINCT))])
        return distinct + draw.choices(distinct, k=count - len(distinct))
    words = " ".join(lines).split()
    length = SHORT_WORDS if shape == "short" else LONG_WORDS
    starts = (draw.randrange(max(1, len(words) - length)) for _ in range(count))
    return [
        " ".join(words[start : start + max(1, round(draw.gauss(length, length / 6)))]) for start in starts
    ]


def masked(texts: Sequence[str], mask: str) -> list[str]:
    """The texts with their middle word hidden."""
    found = []
    for text in texts:
        words = text.split()[:MASKABLE_WORDS]
        words[len(words) // 2] = mask
        found.append(" ".join(words))
    return found

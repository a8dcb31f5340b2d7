"""Which records of a file to check, drawn in one pass, with weights that keep estimates unbiased.

`draw_uniform` draws without replacement (reservoir sampling, Vitter 1985). `Draws` draws with replacement, each time
one of two ways: uniformly, with probability `UNIFORM_SHARE`, or as it prefers records. Record i is then drawn with
probability p_i ≥ UNIFORM_SHARE / N, and the mean of w_i · x_i over the draws, with w_i = 1 / (N p_i) ≤ MOST_WEIGHT, is
an unbiased estimate of the mean of x over the file (Hansen and Hurwitz 1943).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

UNIFORM_SHARE = 0.6
"""The share of draws that prefer no record: more of it makes a guarantee stronger, less finds more errors."""

MOST_WEIGHT = 1 / UNIFORM_SHARE
"""The most that a record of a sample can weigh."""

ROUNDS = 10  # of k-means

Item = TypeVar("Item")
Seed: TypeAlias = int | np.random.Generator
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Drawn(Generic[Item]):
    """An item of the sample, its weight and how often it was drawn."""

    item: Item
    weight: float = 1.0
    draws: int = 1


def draw_uniform(items: Iterable[Item], count: int, seed: Seed) -> list[Drawn[Item]]:
    """`count` of the items, or all if there are fewer, in their order."""
    random = np.random.default_rng(seed)
    held: list[tuple[int, Item]] = []
    for place, item in enumerate(items):
        if place < count:
            held.append((place, item))
        elif (slot := int(random.integers(place + 1))) < count:
            held[slot] = place, item
    return [Drawn(item) for _, item in sorted(held, key=lambda entry: entry[0])]


class Draws(Generic[Item]):
    """`count` draws with replacement: some uniform, the others from one of `groups` groups, chosen uniformly, of an
    item with a probability proportional to its size."""

    def __init__(self, count: int, seed: Seed, groups: int = 1) -> None:
        self._random = random = np.random.default_rng(seed)
        self._groups = groups
        self._is_uniform = random.random(count) < UNIFORM_SHARE
        self._group = random.integers(groups, size=count)
        self._totals = np.zeros(groups)
        self._seen = 0
        self._held: list[tuple[int, Item, float, int] | None] = [None] * count

    def add(self, item: Item, size: float = 1.0, group: int = 0) -> None:
        """Offer the next item to every draw, which keeps it with the probability that leaves each draw right."""
        self._seen += 1
        self._totals[group] += size
        preferred = np.where(self._group == group, size / self._totals[group], 0.0)
        chances = np.where(self._is_uniform, 1 / self._seen, preferred)
        for draw in np.flatnonzero(self._random.random(len(chances)) < chances):
            self._held[draw] = self._seen, item, size, group

    def result(self) -> list[Drawn[Item]]:
        """The drawn items, each once, in the order they were added."""
        times: dict[int, int] = {}
        found: dict[int, tuple[Item, float, int]] = {}
        for entry in self._held:
            if entry is not None:
                place, item, size, group = entry
                times[place] = times.get(place, 0) + 1
                found[place] = item, size, group
        return [
            Drawn(item, self._weight(size, group), times[place])
            for place, (item, size, group) in sorted(found.items(), key=lambda entry: entry[0])
        ]

    def _weight(self, size: float, group: int) -> float:
        preferred = size / float(self._totals[group]) / self._groups
        return 1 / (UNIFORM_SHARE + (1 - UNIFORM_SHARE) * self._seen * preferred)


def cluster_centres(vectors: Vectors, count: int, seed: Seed) -> Vectors:
    """Centres (at most count, dim) of clusters of unit vectors (n, dim) by cosine (spherical k-means, Dhillon and Modha
    2001). Each is nearest to at least one of the vectors."""
    random = np.random.default_rng(seed)
    centres = vectors[random.choice(len(vectors), size=min(count, len(vectors)), replace=False)]
    for _ in range(ROUNDS):
        nearest = (vectors @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = (sums / np.maximum(lengths, 1e-12))[lengths[:, 0] > 0]
    used = np.unique((vectors @ centres.T).argmax(axis=1))
    found: Vectors = centres[used]
    return found


def nearest_centre(vector: Vectors, centres: Vectors) -> int:
    """The number of the centre with the largest cosine."""
    return int((centres @ vector).argmax())


def unit_vectors(rows: Sequence[Sequence[float]]) -> Vectors:
    """Rows of numbers as unit vectors (n, dim); a row of zeros stays one. Raises ValueError for uneven rows."""
    vectors = np.asarray(rows, dtype=np.float32)
    if vectors.ndim != 2:
        raise ValueError("rows of different lengths")
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
    return unit


def uncertainty(score: float) -> float:
    """How uncertain an answer with this score is: 1 - score, never 0."""
    return max(1 - score, 1e-6)

"""The nearest vectors, every one of them looked at.

How near they are is for a similarity function to say (see `tasks.similarity`). Vectors go through in
blocks small enough to stay in a processor's cache while their products and their lengths are taken; blocks
run side by side in threads. Nothing is approximated, and of equal ones the earlier vector comes first. A
vector of zeros, or with a number that is none (the row of a blank record), is near to nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bertcli.errors import UsageError
from bertcli.tasks.similarity import Similarity, cosine_scales, cosines_of, numbers, similarities

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.search.vectors import Vectors

BLOCK_NUMBERS = 1 << 20  # of a block: 4 MiB in float32
ROUNDING = 1e-6  # what float32 may lack in a cosine: a vector with itself has not always 1
TILE = 1024  # vectors a side of what is compared at once for near duplicates


class Hit(NamedTuple):
    """A row of the vectors and how near it is."""

    row: int
    score: float


class Pair(NamedTuple):
    """Two rows, the earlier one first, and how near they are."""

    first: int
    second: int
    cosine: float


def nearest(
    vectors: Vectors,
    queries: Array,
    *,
    most: int,
    least: float = -math.inf,
    threads: int = 1,
    similarity: Similarity = "cosine",
) -> tuple[list[list[Hit]], int]:
    """For each of `queries` (queries, dim) its `most` nearest `vectors` (rows, dim), best first, with a similarity of
    `least` or more; and the number of rows without a vector."""
    rows = max(1, BLOCK_NUMBERS // max(1, vectors.shape[1]))

    def best(start: int) -> tuple[list[list[Hit]], int]:
        scores = similarities(vectors[start : start + rows], queries, similarity)  # (block, queries)
        missing = np.isnan(scores).all(axis=1).sum()
        return [_best(column, start, most, least) for column in scores.T], int(missing)

    found: list[list[Hit]] = [[] for _ in queries]
    total = 0
    with ThreadPoolExecutor(threads) as pool:
        for hits, missing in pool.map(best, range(0, len(vectors), rows)):
            total += missing
            for place, more in enumerate(hits):
                found[place] = heapq.nsmallest(most, [*found[place], *more], key=_rank)
    return found, total


def count_missing(vectors: Vectors) -> int:
    """The number of rows without a vector."""
    rows = max(1, BLOCK_NUMBERS // max(1, vectors.shape[1]))
    blocks = (vectors[start : start + rows] for start in range(0, len(vectors), rows))
    return sum(int(np.isnan(cosine_scales(numbers(block))).sum()) for block in blocks)


def near_duplicates(vectors: Vectors, least: float, *, threads: int = 1) -> Iterator[Pair]:
    """All pairs of rows with a cosine of `least` or more, by the first row, then by the second, within tiles
    of `TILE` rows a side."""
    starts = range(0, len(vectors), TILE)
    with ThreadPoolExecutor(threads) as pool:
        for number, start in enumerate(starts):
            yield from chain.from_iterable(
                pool.map(partial(_pairs, vectors, least, start), starts[number:])  # those behind it
            )


def row_vector(vectors: Vectors, number: int) -> Array:
    """The vector (1, dim) of a row, counted from 1. Raises UsageError where there is none."""
    if number > len(vectors):
        raise UsageError(f"there is no record {number}, only {len(vectors)}", hint="records count from 1")
    vector = numbers(vectors[number - 1 : number])
    if not vector.size or not np.isfinite(cosine_scales(vector)).all():
        raise UsageError(f"record {number} has no vector", hint="it is blank, or failed")
    return vector


def _best(scores: Array, start: int, most: int, least: float) -> list[Hit]:
    """The `most` best of a block whose first row is `start`, in any order."""
    rows = np.flatnonzero(scores >= least - ROUNDING)
    if len(rows) > most:
        border = np.partition(scores[rows], len(rows) - most)[len(rows) - most]
        rows = rows[scores[rows] >= border]  # with all that are as good as the last
    return [Hit(start + row, score) for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)]


def _rank(hit: Hit) -> tuple[float, int]:
    return -hit.score, hit.row


def _pairs(vectors: Vectors, least: float, first: int, second: int) -> list[Pair]:
    """The pairs between two tiles, which begin at these rows."""
    one = np.asarray(vectors[first : first + TILE], dtype=np.float32)
    cosines = cosines_of(vectors[second : second + TILE], one * cosine_scales(one)[:, None]).T
    near = cosines >= least - ROUNDING
    places = np.argwhere(np.triu(near, k=1) if first == second else near)
    values = cosines[places[:, 0], places[:, 1]].tolist()
    return [Pair(first + i, second + j, value) for (i, j), value in zip(places.tolist(), values, strict=True)]

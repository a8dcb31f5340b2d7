"""Where a search puts what comes out of the pipeline: the best of it in order, or all of it in files."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from bertcli.search.vectors import FIELD
from bertcli.sinks import Silent

if TYPE_CHECKING:
    from bertcli.records import Result
    from bertcli.search.rows import RecordSpool
    from bertcli.search.vectors import VectorSpool


class Ranking(Silent):
    """A sink that keeps, for each query, the `most` results with the highest scores; their value `scores`
    holds one a query."""

    def __init__(self, queries: int, *, most: int, least: float = -math.inf) -> None:
        self._heaps: list[list[tuple[float, int, Result]]] = [[] for _ in range(queries)]
        self._most = most
        self._least = least

    def write(self, result: Result) -> None:
        if result.status != "done":
            return
        for heap, score in zip(self._heaps, result.values["scores"].tolist(), strict=True):
            if score >= self._least:
                entry = (score, -result.record.index, result)
                if len(heap) < self._most:
                    heapq.heappush(heap, entry)
                else:
                    heapq.heappushpop(heap, entry)

    def best(self) -> list[list[tuple[Result, float]]]:
        """For each query its results and their scores, best first."""
        return [[(result, score) for score, _, result in sorted(heap, reverse=True)] for heap in self._heaps]


class Spooling(Silent):
    """A sink that sets down every result: its vector in one file, its record in another."""

    def __init__(self, vectors: VectorSpool, records: RecordSpool) -> None:
        self._vectors = vectors
        self._records = records

    def write(self, result: Result) -> None:
        self._records.add(result.record)
        vector = result.values.get(FIELD)
        if vector is None:
            self._vectors.skip()
        else:
            self._vectors.add(vector[None])

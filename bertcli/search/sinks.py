"""Where runs that rank put what comes out of the pipeline: the best of it in order, or all of it in files."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bertcli.records import query_of
from bertcli.search.vectors import FIELD
from bertcli.sinks import Silent

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.search.rows import RecordSpool
    from bertcli.search.vectors import VectorSpool
    from bertcli.search.words import WordIndex
    from bertcli.sinks import Sink


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


class WordSpooling(Silent):
    """A sink that ranks every result, and sets down its words and its record."""

    def __init__(self, ranking: Ranking, words: WordIndex, records: RecordSpool) -> None:
        self._ranking, self._words, self._records = ranking, words, records

    def write(self, result: Result) -> None:
        self._ranking.write(result)
        self._records.add(result.record)
        if result.status == "done":
            self._words.add(result.record.index, result.record.text or "")


class GroupRanking(Silent):
    """A sink that writes the best `most` results (None for all) of each group of records to another one, best first, as
    soon as the group has ended. A group are consecutive records of one `records.query_of`; records between them that
    have none belong to no group, nor end it. Equally good results stay in input order.

    What is written has the fields `rank`, `score` and `where`.
    """

    def __init__(self, sink: Sink, *, most: int | None) -> None:
        self._sink = sink
        self._most = most
        self._query: str | None = None
        self._heap: list[tuple[float, int, Result]] = []
        self.written = 0

    def write(self, result: Result) -> None:
        query = query_of(result.record)
        if query is not None and query != self._query:
            self._end_group()
            self._query = query
        if result.status != "done":
            return
        entry = (result.values["score"], -result.record.index, result)
        if self._most is None or len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def flush(self) -> None:
        """The groups that have ended are shown."""
        self._sink.flush()

    def close(self, complete: bool) -> None:
        """Write the last group. The other sink stays open."""
        if complete:
            self._end_group()

    def _end_group(self) -> None:
        for rank, (score, _, result) in enumerate(sorted(self._heap, reverse=True), 1):
            self._sink.write(replace(result, values=hit_values(rank, score, result.record)))
            self.written += 1
        self._heap = []


def hit_values(rank: int, score: float, record: Record) -> dict[str, Any]:
    """The result fields of a record that was found."""
    return {"rank": rank, "score": score, "where": record.where}


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

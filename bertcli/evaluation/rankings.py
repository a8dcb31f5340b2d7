"""rerank, measured: how early the relevant texts come in the order of each query.

    ndcg@10   Σ gain / log2(1 + rank) over the first ten texts, divided by that of the best possible order; the gain is
              the text's relevance (Järvelin and Kekäläinen 2002)
    mrr@10    1 / rank of the first relevant text, 0 where the first ten have none
    map       the mean, over the relevant texts, of the share of relevant texts down to each

Each is the mean over queries, as trec_eval (pytrec_eval) and ranx define it; a text is relevant where its relevance is
above 0. Equal scores keep the order of the file. A query without a relevant text says nothing about an order and is
left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import InputError, RecordError
from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import Measure, Numbers, estimates
from bertcli.evaluation.gold import number, watched
from bertcli.evaluation.report import Report

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.tasks.rerank import Rerank

CUTOFF = 10
RELEVANCE_FIELDS = ("relevance", "label", "score")
"""Where a file says how relevant a text is to its query."""


class Rankings(Collector):
    """Figures of the scores of a Rerank task beside the relevance in `field`. The records of a query need not follow
    each other."""

    def __init__(self, task: Rerank, field: str, *, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._field, self._facts = field, facts
        self._numbers: dict[str | None, int] = {}
        self._queries, self._scores, self._relevance = array("q"), array("d"), array("d")

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return watched(records, lambda record: relevance(record, self._field))

    def keep(self, result: Result) -> None:
        record = result.record
        self._queries.append(self._numbers.setdefault(record.pair, len(self._numbers)))
        self._scores.append(result.values["score"])
        self._relevance.append(relevance(record, self._field))

    def report(self) -> Report:
        """Raises InputError where no query has a relevant text."""
        figures = ranking_figures(*(np.array(one) for one in (self._queries, self._scores, self._relevance)))
        count = len(next(iter(figures.values())))
        if not count:
            raise InputError(
                f"no text is relevant: '{self._field}' is above 0 in no record",
                hint="measure with records of which some are relevant to their query",
            )
        left_out = len(self._numbers) - count
        noun = "query has" if left_out == 1 else "queries have"
        notes = [f"{left_out} {noun} no relevant text, and none of the figures"] if left_out else []
        facts = {**self._facts, "queries": count}
        return Report("rerank", facts, estimates(mean_measure(figures), count), notes=notes)


def relevance(record: Record, field: str) -> float:
    """How relevant a text is to its query: a number, or a boolean. Raises RecordError."""
    value = record.fields.get(field)
    found = float(value) if isinstance(value, bool) else number(record, field)
    if found < 0:
        raise RecordError("field", f"the field '{field}' holds {found:g}, and a relevance is 0 or more")
    return found


def ranking_figures(queries: NDArray[np.int64], scores: Numbers, relevance: Numbers) -> dict[str, Numbers]:
    """The figures (queries,) by name of each query that has a relevant text; all arguments are (texts,)."""
    order = np.lexsort((-scores, queries))
    starts = np.flatnonzero(np.diff(queries[order], prepend=-1))
    rows = [
        _figures(relevance[order[start:stop]])
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True)
    ]
    table = np.array([row for row in rows if row is not None], dtype=np.float64).reshape(-1, 3)
    return dict(zip(("ndcg@10", "mrr@10", "map"), table.T, strict=True))


def mean_measure(figures: Mapping[str, Numbers]) -> Measure:
    """The mean of each figure from how often each query counts."""

    def measure(weights: Numbers) -> dict[str, float]:
        total = weights.sum()
        return {name: float(weights @ values / total) for name, values in figures.items()}

    return measure


def _figures(gains: Numbers) -> tuple[float, float, float] | None:
    """nDCG@10, MRR@10 and average precision of the gains of a query's texts in their order; None without a relevant
    one."""
    ranks = np.flatnonzero(gains > 0) + 1
    if not len(ranks):
        return None
    best = np.sort(gains)[::-1]
    ndcg = _discounted(gains) / _discounted(best)
    mrr = 1 / ranks[0] if ranks[0] <= CUTOFF else 0.0
    return ndcg, mrr, float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


def _discounted(gains: Numbers) -> float:
    first = gains[:CUTOFF]
    return float(np.sum(first / np.log2(np.arange(2, len(first) + 2))))

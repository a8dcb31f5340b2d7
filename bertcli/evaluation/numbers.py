"""Answers that are numbers, measured: regression, and the similarity of pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import Measure, Numbers, estimates
from bertcli.evaluation.correlation import Ranks, pearson, spearman
from bertcli.evaluation.gold import number, watched
from bertcli.evaluation.report import Report

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.tasks import Task


class NumberAnswers(Collector):
    """Compares the number a task gives as `result` with the one in `field`: Spearman's and Pearson's
    correlation, and with `errors`, where both mean the same, R², the root of the mean squared error and the
    mean absolute error too."""

    def __init__(self, task: Task, result: str, field: str, *, errors: bool, facts: dict[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._result = result
        self._field = field
        self._errors = errors
        self._facts = facts
        self._pairs: list[tuple[float, float]] = []  # gold, answer

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return watched(records, lambda record: number(record, self._field))

    def keep(self, result: Result) -> None:
        self._pairs.append((number(result.record, self._field), result.values[self._result]))

    def report(self) -> Report:
        gold, answers = np.array(self._pairs, dtype=np.float64).T
        measure = number_measure(gold, answers, errors=self._errors)
        task = "label" if self._errors else "embed"
        return Report(task, self._facts, estimates(measure, len(gold)))


def number_measure(gold: Numbers, answers: Numbers, *, errors: bool) -> Measure:
    """Figures of numbers (records,) both: correlations, and with `errors` what is off.

    R², the share of the variance that is explained, is 1 - Σ(answer - gold)² / Σ(gold - mean gold)²; not a
    number where all gold numbers are the same.
    """
    gold_ranks, answer_ranks = Ranks(gold), Ranks(answers)
    distances = answers - gold

    def measure(weights: Numbers) -> dict[str, float]:
        figures = {
            "spearman": spearman(gold_ranks, answer_ranks, weights),
            "pearson": pearson(gold, answers, weights),
        }
        if errors:
            total = weights.sum()
            residue = weights @ distances**2
            variance = weights @ (gold - weights @ gold / total) ** 2
            figures["r2"] = float(1 - residue / variance) if variance > 0 else float("nan")
            figures["root_mean_squared_error"] = float(np.sqrt(residue / total))
            figures["mean_absolute_error"] = float(weights @ np.abs(distances) / total)
        return figures

    return measure

"""label, measured: one of many labels, or any of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import InputError
from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import Numbers, estimates
from bertcli.evaluation.calibration import calibrate_any, calibrate_one
from bertcli.evaluation.classification import (
    any_of_many,
    confusion,
    counts_of_confusion,
    counts_of_flags,
    one_of_many,
)
from bertcli.evaluation.gold import DRAWS_FIELD, WEIGHT_FIELD, number
from bertcli.evaluation.gold import Labels as GoldLabels
from bertcli.evaluation.guarantee import Guarantee, find
from bertcli.evaluation.report import Confusion, Report, label_figures
from bertcli.evaluation.suspects import Doubt, Suspect, doubts, doubts_of_label

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.tasks import Task


class _Scored(Collector):
    """Collects the score of every label for every record. The task must list all labels (`top="all"`).

    `field` holds the gold labels, `temperature` is what the logits are divided by already, `suspects` how
    many to name (0: none, and no texts are kept), by their `id_field` too. `weighted`: the file is a sample with
    weights, as `sample` writes it.
    """

    def __init__(
        self,
        task: Task,
        names: Sequence[str],
        field: str,
        *,
        temperature: float = 1.0,
        suspects: int = 0,
        id_field: str | None = None,
        weighted: bool = False,
        facts: dict[str, Any],
    ) -> None:
        super().__init__()
        self.task = task
        self._names = tuple(names)
        self._places = {name: place for place, name in enumerate(names)}
        self._gold = GoldLabels(field, names)
        self._temperature = temperature
        self._wanted = suspects
        self._id_field = id_field
        self._facts = facts
        self._scores: list[NDArray[np.float32]] = []
        self._texts: list[tuple[str, Any, str]] = []  # place in the input, id, and text
        self._weighted = weighted
        self._weights: list[tuple[float, float]] = []  # weight, and how often drawn

    def keep(self, result: Result) -> None:
        scores = np.zeros(len(self._names), dtype=np.float32)
        for entry in result.values["labels"]:
            scores[self._places[entry["label"]]] = entry["score"]
        self._scores.append(scores)
        record = result.record
        if self._weighted:
            self._weights.append((number(record, WEIGHT_FIELD), number(record, DRAWS_FIELD)))
        if self._wanted:
            pair = f" / {record.pair}" if record.pair is not None else ""
            given = record.fields.get(self._id_field) if self._id_field is not None else None
            self._texts.append((record.where, given, (record.text or "") + pair))

    def _stacked(self) -> Numbers:
        """Scores (records, labels)."""
        return np.stack(self._scores).astype(np.float64)

    @property
    def _counts(self) -> Numbers | None:
        """How much each record counts (records,); None where all count the same."""
        return np.prod(self._weights, axis=1) if self._weighted else None

    @property
    def _notes(self) -> tuple[str, ...]:
        note = f"the metrics are weighted by {WEIGHT_FIELD}; tables count the records that were checked"
        return (note,) if any(weight != 1 for weight, _ in self._weights) else ()

    def _suspect(self, doubt: Doubt, given: str, likelier: str) -> Suspect:
        where, own, text = self._texts[doubt.row]
        return Suspect(where, own, text, given, doubt.given_score, likelier, doubt.score)


class OneLabel(_Scored):
    """Records have one label, and the answer is the best one. `guaranteed` is the error and the confidence of the
    guarantee to find, if any."""

    def __init__(self, *args: Any, guaranteed: tuple[float, float] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._guaranteed = guaranteed
        self._right: list[int] = []

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return self._gold.watch(records, self._gold.one)

    def keep(self, result: Result) -> None:
        self._right.append(self._gold.one(result.record))
        super().keep(result)

    def report(self) -> Report:
        scores, gold = self._stacked(), np.array(self._right)
        answers = scores.argmax(axis=1)
        table = confusion(gold, answers, len(self._names), np.ones(len(gold)))
        return Report(
            "label",
            self._facts,
            estimates(one_of_many(gold, answers, len(self._names)), len(gold), weights=self._counts),
            label_figures(self._names, counts_of_confusion(table)),
            Confusion.of(self._names, table),
            calibrate_one(scores, gold, self._temperature),
            self._suspects(scores, gold) if self._wanted else None,
            self._notes,
            self._guarantee(scores.max(axis=1), answers != gold),
        )

    def _guarantee(self, scores: Numbers, wrong: NDArray[np.bool_]) -> Guarantee | None:
        if self._guaranteed is None:
            return None
        if self.failures:
            raise InputError(
                f"the sample is not checked completely: {self.failures[0].message}",
                where=self.failures[0].where,
                hint="a guarantee needs the right answer of every record of the sample",
            )
        error, confidence = self._guaranteed
        weights, draws = np.array(self._weights).T if self._weighted else (None, None)
        counts = None if draws is None else draws.astype(np.intp)
        return find(scores, wrong, error=error, confidence=confidence, weights=weights, draws=counts)

    def _suspects(self, scores: Numbers, gold: NDArray[np.intp]) -> list[Suspect]:
        found = doubts(scores, gold)[: self._wanted]
        return [
            self._suspect(doubt, self._names[doubt.given], self._names[doubt.likelier]) for doubt in found
        ]


class AnyLabels(_Scored):
    """Records have any number of labels, and the answers are those with a score of at least `threshold`."""

    def __init__(self, *args: Any, threshold: float, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._threshold = threshold
        self._right: list[list[int]] = []

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        return self._gold.watch(records, self._gold.several)

    def keep(self, result: Result) -> None:
        self._right.append(self._gold.several(result.record))
        super().keep(result)

    def report(self) -> Report:
        scores = self._stacked()
        gold = np.zeros(scores.shape, dtype=bool)
        for row, places in enumerate(self._right):
            gold[row, places] = True
        answers = scores >= self._threshold
        return Report(
            "label",
            self._facts,
            estimates(any_of_many(gold, answers), len(gold), weights=self._counts),
            label_figures(self._names, counts_of_flags(gold, answers, np.ones(len(gold)))),
            None,
            calibrate_any(scores, gold, self._temperature),
            self._suspects(scores, gold) if self._wanted else None,
            self._notes,
        )

    def _suspects(self, scores: Numbers, gold: NDArray[np.bool_]) -> list[Suspect]:
        """The likeliest errors of all labels together: labels that are there wrongly, or are not."""
        found = [
            (doubt, name)
            for place, name in enumerate(self._names)
            for doubt in doubts_of_label(scores[:, place], gold[:, place])
        ]
        found.sort(key=lambda item: item[0].given_score)
        return [
            self._suspect(doubt, *((name, f"not {name}") if doubt.given else (f"not {name}", name)))
            for doubt, name in found[: self._wanted]
        ]

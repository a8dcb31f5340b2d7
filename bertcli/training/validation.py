"""Validation: figures of answers for held-out examples, and which of two states is better.

The measures are those of `evaluation`, so that a model card and `bertcli evaluate` mean the same by a name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertcli.evaluation.answers import answer_measure
from bertcli.evaluation.bootstrap import Estimate, Measure, Numbers, estimates
from bertcli.evaluation.classification import (
    any_of_many,
    confusion,
    counts_of_confusion,
    counts_of_flags,
    one_of_many,
)
from bertcli.evaluation.entities import EntityCounts, Sentences
from bertcli.evaluation.masked_words import Sums, piece_measure
from bertcli.evaluation.numbers import number_measure
from bertcli.evaluation.rankings import mean_measure, ranking_figures
from bertcli.evaluation.report import LabelFigures, label_figures
from bertcli.evaluation.words import WordCounts
from bertcli.tasks.tagset import Tagset

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Validation:
    """Figures of answers for `records` held-out examples.

    `names` are the figures of `measure` that are reported. The first of them decides which state is better.
    `loss` is the mean loss, None where it was not computed; `labels` are the figures of each label.
    """

    measure: Measure
    records: int
    names: tuple[str, ...]
    loss: float | None = None
    labels: Sequence[LabelFigures] = ()

    def figures(self) -> dict[str, float]:
        """The figures by name, the one that decides first and the loss last."""
        found = self.measure(np.ones(self.records))
        loss = {} if self.loss is None else {"loss": self.loss}
        return {name: found[name] for name in self.names} | loss

    def score(self) -> float:
        """The figure that decides, with its sign changed if it is the loss: greater is better. A loss that is not a
        number is the worst."""
        name, value = next(iter(self.figures().items()))
        if name != "loss":
            return value
        return -math.inf if math.isnan(value) else -value

    def estimates(self) -> dict[str, Estimate]:
        """The figures with their 95 % intervals, the one that decides first."""
        return estimates(self._reported, self.records)

    def _reported(self, weights: Numbers) -> Figures:
        found = self.measure(weights)
        return {name: found[name] for name in self.names}


def of_one_label(
    answers: NDArray[np.intp], gold: NDArray[np.intp], names: Sequence[str], loss: float | None = None
) -> Validation:
    """One of the labels `names` a text: their places (texts,)."""
    counts = counts_of_confusion(confusion(gold, answers, len(names), np.ones(len(gold))))
    reported = ("macro_f1", "balanced_accuracy", "accuracy")
    measure = one_of_many(gold, answers, len(names))
    return Validation(measure, len(gold), reported, loss, label_figures(names, counts))


def of_several_labels(
    answers: NDArray[np.bool_], gold: NDArray[np.bool_], names: Sequence[str], loss: float | None = None
) -> Validation:
    """Any of the labels `names` a text: (texts, labels)."""
    counts = counts_of_flags(gold, answers, np.ones(len(gold)))
    reported = ("micro_f1", "macro_f1", "accuracy")
    return Validation(any_of_many(gold, answers), len(gold), reported, loss, label_figures(names, counts))


def of_numbers(answers: NDArray[Any], gold: NDArray[Any], loss: float | None = None) -> Validation:
    """A number a text (texts,), of the same kind as the file's."""
    measure = number_measure(gold.astype(np.float64), answers.astype(np.float64), errors=True)
    return Validation(measure, len(gold), ("r2", "spearman", "mean_absolute_error"), loss)


def of_pairs(cosines: NDArray[Any], scores: NDArray[Any]) -> Validation:
    """A cosine a pair (pairs,), and scores that are in the same order if all is well."""
    measure = number_measure(scores.astype(np.float64), cosines.astype(np.float64), errors=False)
    return Validation(measure, len(scores), ("spearman", "pearson"))


def of_tags(
    answers: Sentences, gold: Sentences, tags: Sequence[str], loss: float | None = None
) -> Validation:
    """A tag a word: whole entities and words, or words alone where every word has a tag of its own."""
    words = WordCounts(tags, gold, answers)
    of_words = words.measure()
    if Tagset(tags).per_word:
        labels = label_figures(words.tags, counts_of_confusion(words.table()))
        return Validation(of_words, len(gold), ("accuracy", "macro_f1"), loss, labels)
    entities = EntityCounts(gold, answers, tags)
    of_entities = entities.measure()

    def measure(weights: Numbers) -> Figures:
        return {**of_entities(weights), "accuracy": of_words(weights)["accuracy"]}

    labels = label_figures(entities.types, entities.counts(np.ones(len(gold))))
    reported = ("micro_f1", "micro_precision", "micro_recall", "macro_f1", "accuracy")
    return Validation(measure, len(gold), reported, loss, labels)


def of_pieces(sums: Sequence[Sums], loss: float | None = None) -> Validation:
    """Hidden pieces, summed over each text."""
    return Validation(piece_measure(sums), len(sums), ("accuracy", "top_5_accuracy", "perplexity"), loss)


def of_losses(losses: NDArray[Any], tokens: NDArray[Any]) -> Validation:
    """The loss of each text, summed over its tokens, and how many these are: (texts,) each. In nats per token."""

    def measure(weights: Numbers) -> Figures:
        return {"loss": float(weights @ losses / (weights @ tokens))}

    return Validation(measure, len(losses), ("loss",))


def of_rankings(
    queries: NDArray[np.int64], scores: NDArray[Any], relevance: NDArray[Any], loss: float | None = None
) -> Validation:
    """The order of the texts of each query: (texts,) all. Queries without a relevant text are left out."""
    figures = ranking_figures(queries, scores.astype(np.float64), relevance.astype(np.float64))
    count = len(figures["ndcg@10"])
    return Validation(mean_measure(figures), count, tuple(figures), loss)


def of_answers(equal: Numbers, overlaps: Numbers, answerable: Numbers) -> Validation:
    """Whether each answer is a gold one, the F1 of its words with the nearest gold one, and whether there is one:
    (questions,) each."""
    measure = answer_measure(equal, overlaps, answerable)
    names = ("f1", "exact_match", "answerable_f1", "no_answer_accuracy")
    return Validation(measure, len(equal), names[: 2 if answerable.all() else 4])


def better(one: Figures, other: Figures) -> bool:
    """Whether the first figure is greater, or the same and the loss less. What is not a number is least."""
    mine, yours = (
        -math.inf if math.isnan(value := next(iter(found.values()))) else value for found in (one, other)
    )
    if mine != yours:
        return mine > yours
    return one.get("loss", 0.0) < other.get("loss", 0.0)

"""Counts → precision, recall, F1.

    precision   of what was answered, how much is right      hits / answered
    recall      of what is there, how much was found         hits / support
    F1          their harmonic mean                          2 hits / (answered + support)

each 0 where its denominator is. `macro` is the mean over the labels that occur in the file or in the answers,
`micro` the figure of all labels counted together. Balanced accuracy is the mean recall of the labels that
occur in the file. These are scikit-learn's definitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertcli.evaluation.bootstrap import Measure, Numbers

Places = NDArray[np.intp]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Counts:
    """Of each label, how often it was answered rightly, answered at all, and is there: (labels,) each."""

    hits: Numbers
    answered: Numbers
    support: Numbers

    @property
    def precision(self) -> Numbers:
        return _shares(self.hits, self.answered)

    @property
    def recall(self) -> Numbers:
        return _shares(self.hits, self.support)

    @property
    def f1(self) -> Numbers:
        return _shares(2 * self.hits, self.answered + self.support)

    def averages(self) -> dict[str, float]:
        """`macro_…` and `micro_…` of precision, recall and F1."""
        occur = (self.answered > 0) | (self.support > 0)
        whole = Counts(_sum(self.hits), _sum(self.answered), _sum(self.support))
        names = ("precision", "recall", "f1")
        macro = {f"macro_{name}": _mean(getattr(self, name)[occur]) for name in names}
        return macro | {f"micro_{name}": float(getattr(whole, name)[0]) for name in names}


def confusion(gold: Places, answers: Places, labels: int, weights: Numbers) -> Numbers:
    """How often each label (row) was answered as each label (column): (labels, labels)."""
    cells = np.bincount(gold * labels + answers, weights=weights, minlength=labels * labels)
    return cells.astype(np.float64, copy=False).reshape(labels, labels)


def counts_of_confusion(table: Numbers) -> Counts:
    return Counts(np.diag(table), table.sum(axis=0), table.sum(axis=1))


def counts_of_flags(gold: Flags, answers: Flags, weights: Numbers) -> Counts:
    """Counts where a record may have several labels: gold and answers are (records, labels)."""
    return Counts(weights @ (gold & answers), weights @ answers, weights @ gold)


def one_of_many(gold: Places, answers: Places, labels: int) -> Measure:
    """Figures of answers that are one label a record: (records,) both."""

    def measure(weights: Numbers) -> dict[str, float]:
        table = confusion(gold, answers, labels, weights)
        counts = counts_of_confusion(table)
        return {
            "accuracy": float(counts.hits.sum() / table.sum()),
            "balanced_accuracy": _mean(counts.recall[counts.support > 0]),
        } | counts.averages()

    return measure


def any_of_many(gold: Flags, answers: Flags) -> Measure:
    """Figures of answers that are any number of labels a record: (records, labels) both. `accuracy` is the
    share of records with exactly the right labels."""
    exact = (gold == answers).all(axis=1)

    def measure(weights: Numbers) -> dict[str, float]:
        averages = counts_of_flags(gold, answers, weights).averages()
        return {"accuracy": float(weights @ exact / weights.sum())} | averages

    return measure


def _sum(parts: Numbers) -> Numbers:
    return np.array([parts.sum()])


def _shares(parts: Numbers, wholes: Numbers) -> Numbers:
    return np.divide(parts, wholes, out=np.zeros_like(parts, dtype=np.float64), where=wholes > 0)


def _mean(figures: Numbers) -> float:
    """The mean, 0 of none."""
    return float(figures.mean()) if len(figures) else 0.0

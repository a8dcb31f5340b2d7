"""Labels of the file that are likely wrong: confident learning.

A model that has not seen these records disagrees with some of their labels, and is sometimes right. How sure
it has to be depends on the label: t_l is the mean score of l over the records labelled l. A record labelled j
is suspected when, among the labels with a score of at least their t_l, the best one is not j. The likeliest
errors are those with the lowest score of the given label. This is the off-diagonal of the confident joint,
ranked by self-confidence (Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertcli.evaluation.bootstrap import Numbers


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record whose label `given` is likely wrong: its score is `given_score`, while `likelier` has
    `score`. `where` is its place in the input, `id` its id field, None without one."""

    where: str
    id: Any
    text: str
    given: str
    given_score: float
    likelier: str
    score: float


@dataclass(frozen=True, slots=True)
class Doubt:
    """The record of number `row`, as a Suspect."""

    row: int
    given: int
    given_score: float
    likelier: int
    score: float


def doubts(scores: Numbers, gold: NDArray[np.intp]) -> list[Doubt]:
    """All suspected records, likeliest first: scores (records, labels), gold (records,)."""
    rows = np.arange(len(gold))
    own = scores[rows, gold]
    given = np.bincount(gold, minlength=scores.shape[1])
    sums = np.bincount(gold, weights=own, minlength=scores.shape[1])
    thresholds = np.divide(sums, given, out=np.full(len(given), np.inf), where=given > 0)
    confident = np.where(scores >= thresholds, scores, -1.0)
    likelier = confident.argmax(axis=1)
    suspected = np.flatnonzero((confident.max(axis=1) >= 0) & (likelier != gold))
    order = suspected[np.argsort(own[suspected], kind="stable")]
    return [
        Doubt(
            int(row), int(gold[row]), float(own[row]), int(likelier[row]), float(scores[row, likelier[row]])
        )
        for row in order
    ]


def doubts_of_label(scores: Numbers, gold: NDArray[np.bool_]) -> list[Doubt]:
    """The same for one label that may hold or not: (records,) both. Its labels are 0 (no) and 1 (yes)."""
    return doubts(np.stack([1 - scores, scores], axis=1), gold.astype(np.intp))

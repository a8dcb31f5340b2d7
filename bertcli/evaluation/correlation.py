"""How well two rows of numbers go together.

    Pearson    the covariance over the product of the standard deviations: do they lie on a line
    Spearman   Pearson of the ranks: do they have the same order. Equal numbers share the mean of their ranks

Not a number where one of them is constant. Each is computed from how often every record counts.
"""

from __future__ import annotations

import numpy as np

from bertcli.evaluation.bootstrap import Numbers


def pearson(x: Numbers, y: Numbers, weights: Numbers) -> float:
    """Pearson's r of x and y (records,)."""
    total = weights.sum()
    x = x - weights @ x / total
    y = y - weights @ y / total
    spread = np.sqrt((weights @ (x * x)) * (weights @ (y * y)))
    return float(weights @ (x * y) / spread) if spread > 0 else float("nan")


class Ranks:
    """The ranks of some numbers, in any resample of them: they are sorted once."""

    def __init__(self, numbers: Numbers) -> None:
        distinct, self._places = np.unique(numbers, return_inverse=True)
        self._count = len(distinct)

    def of(self, weights: Numbers) -> Numbers:
        """The rank of each record, from 1: a number that is there w times takes the mean of w ranks."""
        copies = np.bincount(self._places, weights=weights, minlength=self._count)
        ranks: Numbers = np.cumsum(copies) - (copies - 1) / 2
        return ranks[self._places]


def spearman(x: Ranks, y: Ranks, weights: Numbers) -> float:
    """Spearman's rank correlation of what the ranks belong to."""
    return pearson(x.of(weights), y.of(weights), weights)

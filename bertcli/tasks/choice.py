"""From a score for every label to the fields of a record: which label, how sure, and what else was likely.

Two kinds of model answer with labels:

    one of many   the labels exclude each other, their probabilities add up to 1, the best one is the answer
    any of many   each label is true or not by itself; those at or over `threshold` are the answer. `label` is
                  the best of them, or null when none reaches the threshold, and `score` is the best label's
                  in either case: how near it came

`labels` lists labels with their scores, best first: the `top` of them when asked for (-k N, --all; these
count labels below the threshold too), else those over the threshold. Equal scores keep the model's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bertcli.errors import UsageError

if TYPE_CHECKING:
    from bertcli.engines import Array

Top = int | Literal["all"] | None


class Choice:
    """Picks among `names`. `several` is any of many."""

    def __init__(
        self, names: Sequence[str], *, several: bool = False, top: Top = None, threshold: float = 0.5
    ) -> None:
        if not 0 <= threshold <= 1:
            raise UsageError(
                f"--threshold {threshold} is not a probability", hint="give a number from 0 to 1"
            )
        self.names = tuple(names)
        self.fields = ("label", "score") if top is None and not several else ("label", "score", "labels")
        self.several = several
        self._top = top
        self.threshold = threshold

    def values(self, scores: Array) -> Mapping[str, Any]:
        """The result fields for scores (labels,)."""
        best = int(scores.argmax())
        score = float(scores[best])
        label = self.names[best] if not self.several or score >= self.threshold else None
        if len(self.fields) == 2:
            return {"label": label, "score": score}
        return {"label": label, "score": score, "labels": self._ranked(scores)}

    def all_values(self, scores: Array) -> list[Mapping[str, Any]] | None:
        """The same for the scores (texts, labels) of many texts, where only the best label is asked for; else None."""
        if len(self.fields) > 2:
            return None
        best = scores.argmax(axis=1)
        highest = scores[np.arange(len(best)), best].tolist()
        return [
            {"label": self.names[place], "score": score}
            for place, score in zip(best.tolist(), highest, strict=True)
        ]

    def _ranked(self, scores: Array) -> list[dict[str, Any]]:
        order = np.argsort(-scores, kind="stable")
        if self._top is None:
            order = order[: int((scores >= self.threshold).sum())]
        elif self._top != "all":
            order = order[: self._top]
        ranked = scores[order].tolist()
        return [
            {"label": self.names[place], "score": score}
            for place, score in zip(order.tolist(), ranked, strict=True)
        ]


def entropy(shares: Array) -> float:
    """How undecided probabilities that add up to 1 are: -Σ p·ln p, in nats, from 0 to ln(number of labels).

    Shannon, A Mathematical Theory of Communication, 1948.
    """
    positive = shares[shares > 0].astype(np.float64)
    return float(-(positive * np.log(positive)).sum()) + 0.0  # no -0.0


def margin(shares: Array) -> float:
    """How far the best label is ahead of the next: the difference of their probabilities."""
    second, best = np.partition(shares, -2)[-2:]
    return float(best - second)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)), through tanh, which does not overflow."""
    halves: Array = np.float32(0.5) * (np.float32(1) + np.tanh(logits * np.float32(0.5)))
    return halves

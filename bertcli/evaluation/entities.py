"""Entities counted by seqeval's definition (its default mode, that of conlleval).

An entity is right when its type, its first word and its last word are. Tags make entities as `tasks.tagset`
reads them: IOB2 or BIOES, and an I- where nothing of its type is open begins an entity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from bertcli.evaluation.bootstrap import Measure, Numbers
from bertcli.evaluation.classification import Counts
from bertcli.tasks.tagset import Tagset, TagSpan

Sentences = Sequence[Sequence[str]]
"""The tags of the words of each sentence."""


class EntityCounts:
    """How many entities of each type the sentences hold, by the file, by the answers and by both."""

    def __init__(self, gold: Sentences, answers: Sentences, tags: Sequence[str] | None = None) -> None:
        """`tags` are all that both may hold; without them each side's are those that it holds."""
        right, found = _spans(gold, tags), _spans(answers, tags)
        self.types = tuple(sorted({span.label for span in chain(*right, *found)}))
        self._hits = self._table([right_ & found_ for right_, found_ in zip(right, found, strict=True)])
        self._answered, self._support = self._table(found), self._table(right)

    def _table(self, spans: Sequence[set[TagSpan]]) -> Numbers:
        """How many of the spans are of each type: (sentences, types)."""
        counted = [Counter(span.label for span in sentence) for sentence in spans]
        rows = [[count[label] for label in self.types] for count in counted]
        table: NDArray[np.float64] = np.array(rows, dtype=np.float64).reshape(len(rows), len(self.types))
        return table

    def counts(self, weights: Numbers) -> Counts:
        """The counts where each sentence counts as often as `weights` (sentences,) say."""
        return Counts(weights @ self._hits, weights @ self._answered, weights @ self._support)

    def measure(self) -> Measure:
        """Macro and micro precision, recall and F1."""
        return lambda weights: self.counts(weights).averages()


def _spans(sentences: Sentences, tags: Sequence[str] | None) -> list[set[TagSpan]]:
    """The entities of each sentence. What a tag means depends on the others there are."""
    tags = sorted(set(chain(*sentences))) if tags is None else tags
    numbers = {tag: number for number, tag in enumerate(tags)}
    tagset = Tagset(tags)
    return [set(tagset.spans(numbers[tag] for tag in sentence)) for sentence in sentences]

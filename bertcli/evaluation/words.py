"""Words that each have a tag of their own, as parts of speech have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from bertcli.evaluation.bootstrap import Measure, Numbers
from bertcli.evaluation.classification import confusion, one_of_many
from bertcli.evaluation.entities import Sentences


class WordCounts:
    """How often each tag of the file was answered as which. `tags` are those that must have a place, the
    others follow."""

    def __init__(self, tags: Sequence[str], gold: Sentences, answers: Sentences) -> None:
        self.tags = tuple(dict.fromkeys([*tags, *chain(*gold), *chain(*answers)]))
        places = {name: place for place, name in enumerate(self.tags)}
        self._gold = np.array([places[tag] for tag in chain(*gold)], dtype=np.intp)
        self._answers = np.array([places[tag] for tag in chain(*answers)], dtype=np.intp)
        self._sentences = np.repeat(np.arange(len(gold)), [len(words) for words in gold])

    def __len__(self) -> int:
        """The number of words."""
        return len(self._gold)

    def table(self) -> Numbers:
        """The confusion (tags, tags), rows being the file's."""
        return confusion(self._gold, self._answers, len(self.tags), np.ones(len(self._gold)))

    def measure(self) -> Measure:
        """Figures of the words, from how often each sentence counts: (sentences,)."""
        of_words = one_of_many(self._gold, self._answers, len(self.tags))

        def measure(weights: Numbers) -> Mapping[str, float]:
            return of_words(weights[self._sentences])

        return measure

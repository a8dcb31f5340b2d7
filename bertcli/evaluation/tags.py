"""tag, measured: entities where tags make spans, words where every word has a tag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import UsageError
from bertcli.evaluation import Collector
from bertcli.evaluation.bootstrap import estimates
from bertcli.evaluation.classification import counts_of_confusion
from bertcli.evaluation.entities import EntityCounts
from bertcli.evaluation.gold import tagged, tags
from bertcli.evaluation.report import Confusion, Report, label_figures
from bertcli.evaluation.words import WordCounts
from bertcli.tasks.tagset import OUTSIDE, Tagset

if TYPE_CHECKING:
    from bertcli.records import Record, Result
    from bertcli.tasks import Task


class TagAnswers(Collector):
    """Compares a task's `word_tags` with the tags in `field`. `tagset` is the model's.

    Types that only the file has count as missed; where it has none in common with the model, no figure would
    mean anything.
    """

    def __init__(self, task: Task, tagset: Tagset, field: str, *, facts: dict[str, Any]) -> None:
        super().__init__()
        self.task = task
        self._tagset = tagset
        self._field = field
        self._facts = facts
        self._gold: list[list[str]] = []
        self._answers: list[list[str]] = []

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        per_word = self._tagset.per_word
        return (tagged(record, self._field, per_word=per_word) for record in records)

    def keep(self, result: Result) -> None:
        self._gold.append(tags(result.record, self._field))
        self._answers.append([word["tag"] for word in result.values["word_tags"]])

    def report(self) -> Report:
        """Raises UsageError where the file's tags are not the model's."""
        notes = [*self._doubts(), *self._strange()]
        return self._of_words(notes) if self._tagset.per_word else self._of_entities(notes)

    def _of_entities(self, notes: Sequence[str]) -> Report:
        entities = EntityCounts(self._gold, self._answers)
        sentences = len(self._gold)
        figures = label_figures(entities.types, entities.counts(np.ones(sentences)))
        return Report("tag", self._facts, estimates(entities.measure(), sentences), figures, notes=notes)

    def _of_words(self, notes: Sequence[str]) -> Report:
        words = WordCounts(self._tagset.tags, self._gold, self._answers)
        table = words.table()
        return Report(
            "tag",
            self._facts | {"words": len(words)},
            estimates(words.measure(), len(self._gold)),
            label_figures(words.tags, counts_of_confusion(table)),
            Confusion.of(words.tags, table),
            notes=notes,
        )

    def _doubts(self) -> list[str]:
        """What may be another scheme, of the model or of the file."""
        doubts = {"model": self._tagset.doubt, "file": Tagset(sorted(set(chain(*self._gold)))).doubt}
        return [f"{of}: {doubt}" for of, doubt in doubts.items() if doubt is not None]

    def _strange(self) -> list[str]:
        """A note on the types that the model does not have."""
        there = set(chain(*self._gold))
        own = set(self._tagset.tags)
        if not self._tagset.per_word:
            own, there = _types(own), _types(there)
        if not there - own:
            return []
        model, file = ", ".join(sorted(own - {OUTSIDE})), ", ".join(sorted(there - {OUTSIDE}))
        if not (there & own) - {OUTSIDE}:
            raise UsageError(
                "none of the file's tags is one of the model's",
                hint=f"the model's: {model}; the file's: {file}",
            )
        return [f"the model has no {', '.join(sorted(there - own))}: these count as missed"]


def _types(tags: set[str]) -> set[str]:
    """The types of tags, whichever way they are spelled, and O."""
    tagset = Tagset(sorted(tags))
    return {tagset.parts(tag)[1] for tag in tags}

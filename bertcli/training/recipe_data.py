"""The data of a recipe: its sources, of any format bertcli reads, as examples or texts."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Generic, TypeVar

from bertcli.errors import UsageError
from bertcli.evaluation.gold import NUMBER_FIELDS
from bertcli.records import Record
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from bertcli.training.dataset import Example, Split, hold_out, number_of
from bertcli.training.reading import read_labelled, read_questions, read_tagged
from bertcli.training.recipe import AnswerSettings, DataSource, LabelSettings, TagSettings

PAIR_FIELD = "text_pair"
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]? +(?=[\"'(]?[A-Z])")
SHORTEST, LONGEST = 25, 260  # characters of a sentence

T = TypeVar("T")


def label_split(settings: LabelSettings, seed: int) -> Split:
    """The examples of a label settings: the dev files are held out, or else a seeded share of the data."""

    def read(source: DataSource) -> list[Example]:
        return read_labelled(source_options(source), source.label_field)

    return _split(settings, seed, read)


def tag_split(settings: TagSettings, seed: int) -> Split:
    """The sentences of a tag objective, held out in the same way."""
    return _split(settings, seed, lambda source: read_tagged(source_options(source)))


def answer_split(settings: AnswerSettings, seed: int) -> Split:
    """The questions of an answer objective, held out in the same way."""
    return _split(settings, seed, lambda source: read_questions(source_options(source)))


def _split(
    settings: LabelSettings | TagSettings | AnswerSettings,
    seed: int,
    read: Callable[[DataSource], list[Example]],
) -> Split:
    def all_of(sources: Sequence[DataSource]) -> list[Example]:
        return [example for source in sources for example in drawn(read(source), source.limit, seed)]

    examples = all_of(settings.data)
    if settings.dev or not settings.dev_fraction:
        return hold_out(examples, all_of(settings.dev), 0.0, seed)
    return hold_out(examples, None, settings.dev_fraction, seed)


def scored_pairs(sources: Sequence[DataSource], seed: int) -> list[Example]:
    """Pairs of texts with a number each. Raises UsageError where a source has no second text."""
    found: list[Example] = []
    for source in sources:
        options = source_options(source)
        if options.pair_field is None:
            raise UsageError(
                f"there is no field {PAIR_FIELD} with a second text",
                hint="name one in the recipe: {path: …, pair_field: …}",
                where=str(source.path),
            )
        field = source.label_field or NUMBER_FIELDS[0]
        examples = read_labelled(options, field)
        if any(example.pair is None or number_of(example.target) is None for example in examples):
            raise UsageError(f"the field {field} is not a number everywhere", where=str(source.path))
        found += drawn(examples, source.limit, seed)
    return found


def records_of(source: DataSource) -> Iterator[Record]:
    """The records of a source that could be read, blank ones included."""
    with closing(open_source(source_options(source))) as records:
        for record in records:
            if record.problem is None:
                yield record


def texts_of(source: DataSource, unit: str, seed: int, holdout_every: int) -> tuple[list[str], list[str]]:
    """The texts and second texts of a source, with `unit` "sentence" cut at sentence ends: those to learn
    from, of which `source.limit` takes a seeded sample, and those of the records that are held out."""
    kept: Reservoir[str] = Reservoir(source.limit, seed)
    held: list[str] = []
    for record in records_of(source):
        for text in (record.text, record.pair):
            for part in _parts(text or "", unit):
                if is_held_out(record.index, holdout_every):
                    held.append(part)
                else:
                    kept.offer(part)
    return kept.items(), held


def is_held_out(index: int, every: int) -> bool:
    """Whether the record of this number, from 0, is held out."""
    return every > 0 and index % every == 0


def source_options(source: DataSource) -> InputOptions:
    """How to read a source: with its second text, where it has one under the usual name."""
    options = InputOptions(
        files=(str(source.path),), text_field=source.text_field, pair_field=source.pair_field
    )
    if source.pair_field is not None:
        return options
    with closing(open_source(replace(options, split_words=True))) as records:
        usual = PAIR_FIELD in records.field_names
    return replace(options, pair_field=PAIR_FIELD) if usual else options


def drawn(items: Iterable[T], limit: int | None, seed: int) -> list[T]:
    """A seeded sample of at most `limit`, in order; all of them for None."""
    sample: Reservoir[T] = Reservoir(limit, seed)
    for item in items:
        sample.offer(item)
    return sample.items()


def evenly_spaced(items: Sequence[T], limit: int) -> list[T]:
    """At most `limit` of the items, evenly spaced; all of them when `limit` is 0."""
    if not limit or len(items) <= limit:
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


class Reservoir(Generic[T]):
    """A seeded sample of at most `limit` of what is offered, in order, all of it for None; holds no more than
    that (Vitter 1985, algorithm R)."""

    def __init__(self, limit: int | None, seed: int) -> None:
        self._limit = limit
        self._random = random.Random(seed)
        self._kept: list[tuple[int, T]] = []
        self._offered = 0

    def offer(self, item: T) -> None:
        place = self._offered
        self._offered += 1
        if self._limit is None or len(self._kept) < self._limit:
            self._kept.append((place, item))
        elif (drawn_place := self._random.randrange(self._offered)) < self._limit:
            self._kept[drawn_place] = (place, item)

    def items(self) -> list[T]:
        return [item for _, item in sorted(self._kept, key=lambda kept: kept[0])]


def _parts(text: str, unit: str) -> Iterator[str]:
    """A text with single blanks, or its sentences."""
    if unit != "sentence":
        if text.strip():
            yield " ".join(text.split())
        return
    for sentence in SENTENCE_END.split(text):
        if SHORTEST <= len(sentence) <= LONGEST:
            yield " ".join(sentence.split())

"""The first texts of an input: how long they are, how many occur twice, and some of them to be timed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bertcli.errors import RecordError

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record
    from bertcli.sources import Source
    from bertcli.tasks import Task

MOST_READ = 100_000  # records
MOST_TIMED = 4_096
MASK = "[MASK]"


@dataclass(frozen=True, slots=True)
class Timed:
    """A record to be timed, with the number of tokens its windows hold together."""

    record: Record
    tokens: int


@dataclass(slots=True)
class Sample:
    """What was read. `lengths` are in tokens, special tokens included, one for each text that was not blank
    and not there before; `limit` is the number of tokens the model takes at once. `share` is the part of the
    input that was read, None where its size is not known. `timed` are in random order, so that any first
    part of them represents all."""

    limit: int
    read: int = 0
    blank: int = 0
    failed: int = 0
    duplicates: int = 0
    lengths: list[int] = field(default_factory=list)
    share: float | None = None
    timed: list[Timed] = field(default_factory=list)

    @property
    def long(self) -> int:
        """Texts longer than the model takes at once."""
        return sum(length > self.limit for length in self.lengths)

    @property
    def records(self) -> int | None:
        """How many records the whole input has, about; None if that is not known."""
        return None if self.share is None else max(self.read, round(self.read / self.share))

    @property
    def distinct_share(self) -> float:
        """The part of the records that the engine sees: neither blank nor broken nor equal to another."""
        return len(self.lengths) / self.read

    def quantile(self, share: float) -> int:
        """The length that `share` of the texts do not exceed."""
        ordered = sorted(self.lengths)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def histogram(self) -> list[tuple[int, int]]:
        """(most tokens, texts), by doubling lengths from the shortest to the longest there is."""
        counts = Counter((length - 1).bit_length() for length in self.lengths)
        return [(1 << bits, counts[bits]) for bits in range(min(counts), max(counts) + 1)]


def take(
    source: Source,
    tokenizer: Tokenizer,
    task: Task,
    *,
    limit: int,
    seconds: float,
    adapt: Callable[[Record], Record] = lambda record: record,
    clock: Callable[[], float] = time.monotonic,
) -> Sample:
    """Read for at most `seconds`, and choose texts to time for as long again, but one record at least.
    `adapt` makes of a record what the task takes."""
    sample = Sample(limit)
    frame = len(tokenizer.frame(pair=False))
    seen: set[tuple[str, str | None]] = set()
    candidates: list[Record] = []
    deadline = clock() + seconds
    ended = True
    for record in map(adapt, source):
        sample.read += 1
        text = (record.text or "", record.pair)
        if record.problem is not None:
            sample.failed += 1
        elif record.blank:
            sample.blank += 1
        elif text in seen:
            sample.duplicates += 1
        else:
            seen.add(text)
            candidates.append(record)
            sample.lengths.append(_length(tokenizer, record) + frame)
        if sample.read >= MOST_READ or clock() > deadline:
            ended = False
            break
    sample.share = 1.0 if ended else _share(source)
    random.Random(0).shuffle(candidates)
    until = clock() + seconds
    sample.timed = _timed(candidates, task, lambda: clock() > until)
    return sample


def with_mask(record: Record, spellings: Iterable[str]) -> Record:
    """The record with its middle word hidden, unless a word is missing already."""
    text = record.text or ""
    if any(spelling in text for spelling in spellings):
        return record
    words = text.split()
    if not words:
        return record
    words[len(words) // 2] = MASK
    return replace(record, text=" ".join(words))


def _length(tokenizer: Tokenizer, record: Record) -> int:
    return sum(len(tokenizer.encode(text)) for text in (record.text, record.pair) if text)


def _share(source: Source) -> float | None:
    """The part of the input read so far."""
    return min(1.0, source.position / source.size) if source.size and source.position else None


def _timed(candidates: Sequence[Record], task: Task, is_late: Callable[[], bool]) -> list[Timed]:
    found: list[Timed] = []
    for number, record in enumerate(candidates[:MOST_TIMED]):
        if found and is_late():
            break
        try:
            windows = task.encode(record).windows
        except RecordError:
            continue
        found.append(Timed(replace(record, index=number), sum(map(len, windows))))
    return found

"""Which windows run together, and when.

Records are read into *blocks* of a bounded number of tokens. Equal texts are computed once, within a block and
among the texts seen last before it. Windows are sorted by length and cut into *batches* under a token budget, and
the answers return to the records in input order. The blocks of an input that never pauses depend on the input
and the plan alone, so a run is repeatable. A pause of the input (a pipe, a terminal) ends the block at once, so
that everything read so far is answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bertcli.errors import ModelError, RecordError, quoted
from bertcli.feed import END, PAUSE, Feed
from bertcli.records import Problem, Record, Result, Window, size_of
from bertcli.tasks import EncodedRecord, Task

Text: TypeAlias = tuple[str | None, str | None, tuple[str, ...] | None]
"""What makes two records equal to a task: text, pair, words."""

LARGEST_CACHED = 4_096
"""Bytes of the largest text whose answer is cached for later blocks."""

MOST_CACHED = 8_192
"""Different texts whose answers are cached across blocks."""

LEAST_ROUNDS = 4
"""Batches for each worker in a full block: batches are uneven, and workers idle at the end of a block."""


@dataclass(slots=True)
class Work:
    """The computation for one text: its windows (`tokens` in all), their outputs so far, or the problem that
    ended it. Records with equal texts share it and its `answer`, which does not depend on other fields."""

    encoded: EncodedRecord | None = None
    tokens: int = 0
    outputs: list[Any] = field(default_factory=list)
    problem: Problem | None = None
    answer: Result | None = None


class SeenTexts:
    """The last `most` different texts of a run, across its blocks, each with its work where that is cached.

    The texts depend on the records alone, so that a resumed run, which reads past the answered records, counts
    the same duplicates.
    """

    def __init__(self, most: int = MOST_CACHED) -> None:
        self._most = most
        self._works: dict[Text, Work | None] = {}

    def see(self, record: Record) -> bool:
        """Whether an equal text was seen. Remembers this one, unless it is large, blank or malformed."""
        if record.problem is not None or record.blank:
            return False
        text = _text(record)
        if _size(text) > LARGEST_CACHED:
            return False
        found = text in self._works
        self._works[text] = self._works.pop(text, None)
        if len(self._works) > self._most:
            del self._works[next(iter(self._works))]
        return found

    def work(self, text: Text) -> Work | None:
        return self._works.get(text)

    def keep(self, text: Text, work: Work | None) -> None:
        """Cache the work of a seen text for later blocks; None removes it."""
        if text in self._works:
            self._works[text] = work


@dataclass(slots=True)
class BlockEntry:
    """A record of a block; `work` is None where it is blank or has a problem of its own. `duplicate` is True
    where an equal text came before it."""

    record: Record
    work: Work | None = None
    problem: Problem | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows that run together. `places` are the work and the index among its outputs for each window."""

    windows: list[Window]
    places: list[tuple[Work, int]]

    def settle(self, outputs: Sequence[Any]) -> None:
        """Store the outputs (one for each window; a Problem where the engine failed) in their work."""
        for (work, place), output in zip(self.places, outputs, strict=True):
            if isinstance(output, Problem):
                work.problem = output
            else:
                work.outputs[place] = output


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of blocks (`look_ahead`) and batches (`batch_tokens`) in tokens. A batch of fewer than
    `least_tokens` is not split for another worker. Equal and blank texts add no tokens, and other fields may be
    large, so a block also ends at `most_records` and once the fields take `most_bytes`.

    The first block is one round of batches, so that answers show early; each further one is twice as large
    until `look_ahead` is reached, or `LEAST_ROUNDS` where many workers need more. `begun` is the number of full
    blocks of the interrupted run that this one resumes. `reserved` are the names of result fields: a record with
    an input field of that name fails. `seen` are the texts of the records before the first block; `remembers`
    allows reusing the answer of a seen text in a later block.
    """

    batch_tokens: int
    workers: int = 1
    least_tokens: int = 256
    look_ahead: int = 131_072
    most_records: int = 8_192
    most_bytes: int = 1 << 25
    begun: int = 0
    reserved: frozenset[str] = frozenset()
    seen: SeenTexts = field(default_factory=SeenTexts)
    remembers: bool = True

    def blocks(self, feed: Feed, task: Task) -> Iterator[Block | None]:
        """Yield blocks in input order, and None whenever the input pauses.

        At None the caller finishes all blocks it has; asking for the next block then waits for input. An error
        of the source is raised after the records before it.
        """
        filled = self.begun
        block = Block(self, task, filled)
        while True:
            try:
                record = feed.take(wait=False)
            except Exception:
                block.whole = False
                yield from (block, None)
                raise
            if record is END:
                yield block
                return
            if record is PAUSE:
                yield from (block, None)
                block = Block(self, task, filled)
                record = feed.take()
                if record is END:
                    return
            block.add(record)
            if block.tokens >= self.budget(filled) or block.is_full:
                filled += 1
                block.filled = filled
                yield block
                block = Block(self, task, filled)

    def blocks_ahead(self, workers: int) -> int:
        """How many blocks are computed at once: one while the next is read and tokenised, and more where so many
        workers would wait, because batches are made for fewer."""
        return max(2, 1 + -(-workers * self.batch_tokens // self._full))

    @property
    def _full(self) -> int:
        """Tokens of the largest block."""
        return max(self.look_ahead, LEAST_ROUNDS * self.batch_tokens * self.workers)

    def budget(self, filled: int) -> int:
        """Tokens of a full block, after `filled` full blocks."""
        round_of_batches = self.batch_tokens * self.workers
        return min(round_of_batches << min(filled, self._full.bit_length()), self._full)


class Block:
    """Consecutive records that are planned together. `filled` is the number of full blocks of the run so far,
    this one included if it is full. `whole` is False where an error of the source ended the block early."""

    def __init__(self, plan: Plan, task: Task, filled: int = 0) -> None:
        self.plan = plan
        self.task = task
        self.filled = filled
        self.whole = True
        self.entries: list[BlockEntry] = []
        self.tokens = 0
        self.bytes = 0
        self._works: dict[Text, Work] = {}
        self._begun: list[Work] = []

    def add(self, record: Record) -> None:
        """Tokenise a record, unless it is blank, malformed or equal to one in this block."""
        entry = BlockEntry(record, problem=record.problem, duplicate=self.plan.seen.see(record))
        self.entries.append(entry)
        self.bytes += record.size
        if clash := self.plan.reserved.intersection(record.fields):
            entry.problem = Problem(
                "clash", f"the input already has a field named {quoted(sorted(clash))}; use --prefix"
            )
        if entry.problem is None and not record.blank:
            text = _text(record)
            work = self._works.get(text)
            if work is None:
                # Tokens of a cached text count too: blocks must depend on the input alone, and a resumed run
                # has no cached answers.
                work = self._works[text] = self.plan.seen.work(text) or self._begin(record)
                self.tokens += work.tokens
            else:
                entry.duplicate = True
            entry.work = work

    @property
    def is_full(self) -> bool:
        """Whether the limits of records and bytes are reached, whatever the number of tokens."""
        return len(self.entries) >= self.plan.most_records or self.bytes >= self.plan.most_bytes

    def _begin(self, record: Record) -> Work:
        """The work of a text that was not seen."""
        work = Work()
        try:
            work.encoded = self.task.encode(record)
        except RecordError as error:
            work.problem = Problem(error.type, error.message)
        except ModelError as error:
            work.problem = Problem("engine", error.message)
        except MemoryError:
            work.problem = Problem("engine", "memory ran out while the text was cut into tokens")
        else:
            work.outputs = [None] * len(work.encoded.windows)
            work.tokens = sum(map(len, work.encoded.windows))
            self._begun.append(work)
        if self.plan.remembers:
            self.plan.seen.keep(_text(record), work)
        return work

    def batches(self) -> Iterator[Batch]:
        """The block's windows, longest first, cut so that a batch holds at most `batch_tokens` tokens.

        They are about as large as each other, and as many as give every worker the same: else one would idle
        while another has a batch more to do. A single window above the budget is a batch of its own.
        """
        waiting = [
            (window, (work, place))
            for work in self._begun
            if work.encoded is not None
            for place, window in enumerate(work.encoded.windows)
        ]
        waiting.sort(key=lambda item: len(item[0]), reverse=True)
        most = self.plan.batch_tokens
        tokens = sum(work.tokens for work in self._begun)
        count = -(-tokens // most)
        count += -count % self.plan.workers
        fair = max(tokens / max(1, count), self.plan.least_tokens)
        start = tokens = 0
        for end, (window, _) in enumerate(waiting):
            if end > start and (tokens >= fair or tokens + len(window) > most):
                yield _batch(waiting[start:end])
                start, tokens = end, 0
            tokens += len(window)
        if start < len(waiting):
            yield _batch(waiting[start:])

    def results(self) -> Iterator[Result]:
        """One result a record, in input order. All batches must have been settled."""
        return map(self._result, self.entries)

    def _result(self, entry: BlockEntry) -> Result:
        record, work = entry.record, entry.work
        if entry.problem is not None:
            return Result(record, problem=entry.problem)
        if work is None:
            return Result(record, dict.fromkeys(self.task.fields))
        if work.answer is not None:
            return _as_of(work.answer, record, work.answer.values, entry.duplicate)
        result = self._answer(record, work, entry.duplicate)
        work.answer = _as_of(result, END, _owned(result.values), entry.duplicate)
        work.encoded, work.outputs = None, []
        if result.problem is not None or size_of(result.values) + len(record.text or "") > LARGEST_CACHED:
            self.plan.seen.keep(_text(record), None)  # what failed for want of memory may not fail again
        return result

    def _answer(self, record: Record, work: Work, duplicate: bool) -> Result:
        if work.problem is not None or work.encoded is None:
            return Result(record, problem=work.problem, duplicate=duplicate)
        try:
            values = self.task.decode(record, work.encoded, work.outputs)
        except RecordError as error:
            return Result(record, problem=Problem(error.type, error.message), duplicate=duplicate)
        truncated = work.encoded.truncated or values.get("truncated") is True
        values = {name: value for name, value in values.items() if name != "truncated"}
        return Result(record, values, None, work.encoded.slices, truncated, duplicate)


def _as_of(answer: Result, record: Record, values: Mapping[str, Any], duplicate: bool) -> Result:
    """An answer as that of another record. (`dataclasses.replace` takes five times as long.)"""
    return Result(record, values, answer.problem, answer.windows, answer.truncated, duplicate)


def _owned(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values with arrays of their own: a part of an array keeps the whole of it in memory."""
    return {
        name: value.copy() if getattr(value, "base", None) is not None else value
        for name, value in values.items()
    }


def _text(record: Record) -> Text:
    return record.text, record.pair, record.words


def _size(text: Text) -> int:
    return sum(len(part) for part in text[:2] if part is not None)


def _batch(items: list[tuple[Window, tuple[Work, int]]]) -> Batch:
    return Batch([window for window, _ in items], [place for _, place in items])

"""Which windows run together, and when.

Records are read into *blocks* of a bounded number of tokens. Equal texts are computed once, within a block and
among the texts seen last before it. Windows are sorted by length and cut into *batches* under a token budget, and
the answers return to the records in input order. The blocks of an input that never pauses depend on the input
and the plan alone, so a run is repeatable. A pause of the input (a pipe, a terminal) ends the block at once, so
that everything read so far is answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from bertcli.errors import RecordError, quoted
from bertcli.feed import END, PAUSE, Feed
from bertcli.lookahead import Lookahead, Text, Work, text_of
from bertcli.records import Problem, Record, Result, Window, size_of
from bertcli.tasks import BulkTask, Task

LARGEST_CACHED = 4_096
"""Bytes of the largest text whose answer is cached for later blocks."""

MOST_CACHED = 8_192
"""Different texts whose answers are cached across blocks."""

LEAST_ROUNDS = 4
"""Batches for each worker in a full block: batches are uneven, and workers idle at the end of a block."""


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
        text = text_of(record)
        if len(record.text or "") + len(record.pair or "") > LARGEST_CACHED:
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
        ahead = Lookahead(feed, task, self._is_cached)
        with closing(ahead):
            yield from self._blocks(ahead, task)

    def _blocks(self, ahead: Lookahead, task: Task) -> Iterator[Block | None]:
        filled = self.begun
        block = Block(self, task, ahead, filled)
        while True:
            try:
                record = ahead.take(wait=False)
            except Exception:
                block.whole = False
                yield from (block, None)
                raise
            if record is END:
                yield block
                return
            if record is PAUSE:
                yield from (block, None)
                block = Block(self, task, ahead, filled)
                record = ahead.take()
                if record is END:
                    return
            block.add(record)
            if block.is_full:
                filled += 1
                block.filled = filled
                yield block
                block = Block(self, task, ahead, filled)

    def _is_cached(self, text: Text) -> bool:
        return self.seen.work(text) is not None

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

    def __init__(self, plan: Plan, task: Task, ahead: Lookahead, filled: int = 0) -> None:
        self.plan = plan
        self.task = task
        self.filled = filled
        self.whole = True
        self.entries: list[BlockEntry] = []
        self.tokens = 0
        self.bytes = 0
        self._ahead = ahead
        self._budget = plan.budget(filled)
        self._works: dict[Text, Work] = {}
        self._begun: list[Work] = []

    def add(self, record: Record) -> None:
        """Tokenise a record, unless it is blank, malformed or equal to one in this block."""
        plan = self.plan
        entry = BlockEntry(record, problem=record.problem, duplicate=plan.seen.see(record))
        self.entries.append(entry)
        self.bytes += record.size
        if not plan.reserved.isdisjoint(record.fields):
            clash = plan.reserved.intersection(record.fields)
            entry.problem = Problem(
                "clash", f"the input already has a field named {quoted(sorted(clash))}; use --prefix"
            )
        if entry.problem is None and not record.blank:
            text = text_of(record)
            work = self._works.get(text)
            if work is None:
                # Tokens of a cached text count too: blocks must depend on the input alone, and a resumed run
                # has no cached answers.
                work = self._works[text] = plan.seen.work(text) or self._begin(record, text)
                self.tokens += work.tokens
            else:
                entry.duplicate = True
            entry.work = work

    @property
    def is_full(self) -> bool:
        """Whether a limit is reached: of tokens, of records or of bytes."""
        return (
            self.tokens >= self._budget
            or len(self.entries) >= self.plan.most_records
            or self.bytes >= self.plan.most_bytes
        )

    def _begin(self, record: Record, text: Text) -> Work:
        """The work of a text that was not seen."""
        work = self._ahead.work(record, text)
        if work.encoded is not None:
            self._begun.append(work)
        if self.plan.remembers:
            self.plan.seen.keep(text, work)
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
        if isinstance(self.task, BulkTask):
            self._decode(self.task)
        return map(self._result, self.entries)

    def _decode(self, task: BulkTask) -> None:
        """Decode the texts of one window together."""
        works = [work for work in self._begun if len(work.outputs) == 1 and work.problem is None]
        if len(works) > 1:
            with suppress(RecordError):  # each is decoded by itself, and one of them fails
                found = task.decode_all([work.outputs[0] for work in works])
                for work, values in zip(works, found or (), strict=False):
                    work.values = values

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
        work.encoded, work.outputs, work.values = None, [], None
        if result.problem is not None or size_of(result.values) + len(record.text or "") > LARGEST_CACHED:
            self.plan.seen.keep(text_of(record), None)  # what failed for want of memory may not fail again
        return result

    def _answer(self, record: Record, work: Work, duplicate: bool) -> Result:
        if work.problem is not None or work.encoded is None:
            return Result(record, problem=work.problem, duplicate=duplicate)
        values = work.values
        if values is None:
            try:
                values = self.task.decode(record, work.encoded, work.outputs)
            except RecordError as error:
                return Result(record, problem=Problem(error.type, error.message), duplicate=duplicate)
        truncated = work.encoded.truncated
        if "truncated" in values:
            truncated = truncated or values["truncated"] is True
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


def _batch(items: list[tuple[Window, tuple[Work, int]]]) -> Batch:
    return Batch([window for window, _ in items], [place for _, place in items])

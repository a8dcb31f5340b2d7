"""Which windows run together, and when.

Records are read into *blocks*: as many as a bounded number of tokens allows. Within a block equal texts
become one, windows are sorted by length and cut into *packs* under a token budget, and the answers go back
to the records in input order. Blocks of an input that never pauses depend on the input alone, so a run is
repeatable; the pause of an input that may pause (a pipe, a terminal) ends the block at once: nobody waits for
a record that has not been written yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertcli.errors import RecordError, quoted
from bertcli.feed import END, PAUSE, Feed
from bertcli.records import Problem, Record, Result, Window
from bertcli.tasks import Encoded, Task

LEAST_ROUNDS = 4
"""Rounds of packs in a full block: packs are uneven, and at a block's end the last of them is waited for."""


@dataclass(slots=True)
class Entry:
    """A record on its way through a block: its windows, the outputs that came back for them so far, or
    the problem that ended it. `twin` is the first entry of the block with the same text."""

    record: Record
    encoded: Encoded | None = None
    outputs: list[Any] = field(default_factory=list)
    problem: Problem | None = None
    twin: Entry | None = None
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class Pack:
    """Windows that run together, with the entry and the place among its outputs that each answer goes to."""

    windows: list[Window]
    places: list[tuple[Entry, int]]

    def settle(self, outputs: Sequence[Any]) -> None:
        """Hand the outputs (one a window; a Problem where the engine failed) back to their records."""
        for (entry, place), output in zip(self.places, outputs, strict=True):
            if isinstance(output, Problem):
                entry.problem = output
            else:
                entry.outputs[place] = output


@dataclass(frozen=True, slots=True)
class Plan:
    """How far to look ahead and how large a pack may be, both in tokens; below `least_tokens` a pack is not
    worth being cut for another worker.

    The first block is one round of packs, so that answers show early; each further one is twice as large
    until `look_ahead` is reached, or `LEAST_ROUNDS` where many workers want more. `begun` is how many blocks
    were filled before, in a run that this one goes on with. `reserved` are the names results will have: a
    record that brings a field of that name is refused.
    """

    pack_tokens: int
    workers: int = 1
    least_tokens: int = 256
    look_ahead: int = 131_072
    most_records: int = 8_192
    begun: int = 0
    reserved: frozenset[str] = frozenset()

    def blocks(self, feed: Feed, task: Task) -> Iterator[Block | None]:
        """Yield blocks in input order, and None whenever the input pauses.

        The caller settles all it holds when it sees None; asking for the next block then waits for input.
        An error of the source is raised after the records before it have come out.
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
            if block.tokens >= self.budget(filled) or len(block.entries) >= self.most_records:
                filled += 1
                block.filled = filled
                yield block
                block = Block(self, task, filled)

    def budget(self, filled: int) -> int:
        """How many tokens fill a block when `filled` are full."""
        round_of_packs = self.pack_tokens * self.workers
        most = max(self.look_ahead, LEAST_ROUNDS * round_of_packs)
        return min(round_of_packs << min(filled, most.bit_length()), most)


class Block:
    """Consecutive records on their way through the engine. `filled` is the number of full blocks of the run
    up to this one, which counts when it is full itself. `whole` is False when an error of the source cut it
    short: another run over the same input would go on with it."""

    def __init__(self, plan: Plan, task: Task, filled: int = 0) -> None:
        self.plan = plan
        self.task = task
        self.filled = filled
        self.whole = True
        self.entries: list[Entry] = []
        self.tokens = 0
        self._first: dict[tuple[object, ...], Entry] = {}

    def add(self, record: Record) -> None:
        """Tokenise a record, unless it is blank, broken or equal to one that is here already."""
        entry = Entry(record, problem=record.problem)
        self.entries.append(entry)
        if clash := self.plan.reserved.intersection(record.fields):
            entry.problem = Problem(
                "clash", f"the input already has a field named {quoted(sorted(clash))}; use --prefix"
            )
        if entry.problem is not None or record.blank:
            return
        entry.twin = self._first.setdefault((record.text, record.pair, record.words), entry)
        if entry.twin is not entry:
            return
        try:
            entry.encoded = self.task.encode(record)
        except RecordError as error:
            entry.problem = Problem(error.type, error.message)
            return
        except MemoryError:
            entry.problem = Problem("engine", "memory ran out while the text was cut into tokens")
            return
        entry.outputs = [None] * len(entry.encoded.windows)
        self.tokens += sum(map(len, entry.encoded.windows))

    def packs(self) -> Iterator[Pack]:
        """The block's windows, longest first, cut so that a pack holds at most `pack_tokens` tokens.

        They are about as large as each other, and as many as give every worker the same: else one would idle
        while another has a pack more to do. A single window above the budget is a pack of its own.
        """
        waiting = [
            (window, (entry, place))
            for entry in self.entries
            if entry.encoded is not None
            for place, window in enumerate(entry.encoded.windows)
        ]
        waiting.sort(key=lambda item: len(item[0]), reverse=True)
        most = self.plan.pack_tokens
        count = -(-self.tokens // most)
        count += -count % self.plan.workers
        fair = max(self.tokens / max(1, count), self.plan.least_tokens)
        start = tokens = 0
        for end, (window, _) in enumerate(waiting):
            if end > start and (tokens >= fair or tokens + len(window) > most):
                yield _pack(waiting[start:end])
                start, tokens = end, 0
            tokens += len(window)
        if start < len(waiting):
            yield _pack(waiting[start:])

    def results(self) -> Iterator[Result]:
        """One result a record, in input order. All packs must have been settled."""
        for entry in self.entries:
            entry.result = self._result(entry)
            yield entry.result

    def _result(self, entry: Entry) -> Result:
        twin = entry.twin
        if twin is not None and twin is not entry and twin.result is not None:
            first = twin.result
            return Result(entry.record, first.values, first.problem, first.windows, first.truncated, True)
        if entry.problem is not None:
            return Result(entry.record, problem=entry.problem)
        if entry.encoded is None:
            return Result(entry.record, dict.fromkeys(self.task.fields))
        try:
            values = self.task.decode(entry.record, entry.encoded, entry.outputs)
        except RecordError as error:
            return Result(entry.record, problem=Problem(error.type, error.message))
        return Result(entry.record, values, None, entry.encoded.slices, entry.encoded.truncated)


def _pack(items: list[tuple[Window, tuple[Entry, int]]]) -> Pack:
    return Pack([window for window, _ in items], [place for _, place in items])

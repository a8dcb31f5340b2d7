"""The pipeline: records flow one way, source → feed → plan → engine → task → sink. Start reading here.

`run` is all of it. It uses `sources` (input → records), `tasks` (record → windows, arrays → answer), `planning`
(which windows run together), `workers` (runs batches and isolates a window that fails), `engines` (the
arithmetic) and `sinks` (result → output).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from bertcli import interrupts
from bertcli.engines import Engine
from bertcli.errors import StoppedEarlyError
from bertcli.feed import Feed
from bertcli.planning import Block, Plan
from bertcli.records import Result
from bertcli.sinks import Sink
from bertcli.tasks import Task
from bertcli.workers import Running, Workers

WRITING = 1.0  # seconds that Ctrl-C waits at most for the rest of a block to be written


class ResultCounter(Protocol):
    """Counts every result; `receipt.Receipt` implements it."""

    @property
    def failed(self) -> int: ...

    def add(self, result: Result) -> None: ...

    def expect(self, more: int) -> None:
        """About `more` records have been computed; `add` follows for each when it is written."""


class ProgressLog(Protocol):
    """Records every block whose results are written: an interrupted run can be resumed behind it.
    `is_active` is False where the output cannot be resumed."""

    @property
    def is_active(self) -> bool: ...

    def add_block(self, block: Block) -> None: ...


def run(
    feed: Feed,
    *,
    task: Task,
    engine: Engine,
    plan: Plan,
    sink: Sink,
    receipt: ResultCounter,
    max_errors: int | None = None,
    on_shortage: Callable[[int], None] = lambda most_tokens: None,
    progress: ProgressLog | None = None,
) -> None:
    """Carry every record through the task to the sink, in input order.

    When the input pauses, everything read so far is answered at once. Raises StoppedEarlyError once
    `max_errors` records have failed; everything up to the last of them has been written then. `on_shortage`
    is called once, when memory has run out, with the largest number of tokens of a batch from then on.
    """
    with Workers(task, engine, on_shortage) as workers:
        results = ResultWriter(workers, sink, receipt, max_errors, progress)
        for block, running in _running_blocks(feed, task, plan, workers):
            results.write(block, running)


def results(feed: Feed, *, task: Task, engine: Engine, plan: Plan) -> Iterator[Result]:
    """The result of every record, in input order. Records are read a block at a time, as results are taken."""
    with Workers(task, engine, lambda most_tokens: None) as workers:
        for block, running in _running_blocks(feed, task, plan, workers):
            for batch, future in running:
                batch.settle(future.result())
            yield from block.results()


def _running_blocks(feed: Feed, task: Task, plan: Plan, workers: Workers) -> Iterator[tuple[Block, Running]]:
    """Blocks in input order, each started before the one before it is handed out."""
    started: deque[tuple[Block, Running]] = deque()
    most = plan.blocks_ahead(workers.count)
    for block in plan.blocks(feed, task):
        if block is not None:
            started.append((block, workers.start(block)))
        while started and (block is None or len(started) >= most):
            yield started.popleft()
    yield from started


@dataclass(frozen=True, slots=True)
class ResultWriter:
    """Writes the results of blocks, and counts them."""

    workers: Workers
    sink: Sink
    receipt: ResultCounter
    max_errors: int | None
    progress: ProgressLog | None

    def write(self, block: Block, running: Running) -> None:
        """Wait for a block's batches, write its results, and flush them to the reader."""
        for number, (batch, future) in enumerate(running, 1):
            batch.settle(future.result())
            self.receipt.expect(len(block.entries) * number // len(running))
        self.workers.report_shortage()
        if self.progress is None or not self.progress.is_active:
            self._write(block)
            self.sink.flush()
            return
        # A run can be resumed only behind a whole block, so Ctrl-C waits until a computed block is written.
        began = time.monotonic()
        with interrupts.deferred() as interrupted:
            self._write(block, lambda: interrupted() and time.monotonic() - began > WRITING)
            self.sink.flush()
            if block.whole:
                self.progress.add_block(block)
        if interrupted():
            raise KeyboardInterrupt

    def _write(self, block: Block, must_end: Callable[[], bool] = lambda: False) -> None:
        for result in block.results():
            self.sink.write(result)
            self.receipt.add(result)
            if result.problem is not None:
                self._stop_after(result)
            if must_end():
                raise KeyboardInterrupt

    def _stop_after(self, result: Result) -> None:
        """Raise StoppedEarlyError once `max_errors` records have failed."""
        failed = self.receipt.failed
        if self.max_errors is not None and failed >= self.max_errors:
            noun = "record" if failed == 1 else "records"
            raise StoppedEarlyError(f"stopped: {failed} {noun} failed", where=result.record.where)

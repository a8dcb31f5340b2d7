"""The flow: records go one way, source → feed → plan → engine → task → sink. Start reading here.

`run` is the whole of it. The rooms it passes through are `sources` (what a record is), `tasks` (how a record
becomes windows and how arrays become its answer), `planning` (which windows run together), `engines` (the
arithmetic) and `sinks` (how a result is written); `workers` runs the batches, and finds the one
window that a batch fails on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
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

BLOCKS_AHEAD = 2  # one is computed while the next is read and tokenised
WRITING = 1.0  # seconds that Ctrl-C waits at most for the rest of a block to be written


class ResultCounter(Protocol):
    """Is told about every result; a `receipt.Receipt` in the program."""

    @property
    def failed(self) -> int: ...

    def add(self, result: Result) -> None: ...

    def expect(self, more: int) -> None:
        """About so many records more have been computed; `add` will tell of each when its turn has come."""


class ProgressLog(Protocol):
    """Is told about every block whose results are written: from there an interrupted run can be resumed.
    `is_active` says whether it makes a run resumable at all."""

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
    is called once, when memory has run out, with the number of tokens that batches have at most from then on.
    """
    with Workers(task, engine, on_shortage) as workers:
        results = Results(workers, sink, receipt, max_errors, progress)
        started: deque[tuple[Block, Running]] = deque()
        for block in plan.blocks(feed, task):
            if block is not None:
                started.append((block, workers.start(block)))
            while started and (block is None or len(started) >= BLOCKS_AHEAD):
                results.write(*started.popleft())
        while started:
            results.write(*started.popleft())


@dataclass(frozen=True, slots=True)
class Results:
    """Where the results of a block go, and who is told about them."""

    workers: Workers
    sink: Sink
    receipt: ResultCounter
    max_errors: int | None
    progress: ProgressLog | None

    def write(self, block: Block, running: Running) -> None:
        """Wait for a block's batches and write its results; a reader, such as `head`, sees them at once."""
        for number, (batch, future) in enumerate(running, 1):
            batch.settle(future.result())
            self.receipt.expect(len(block.entries) * number // len(running))
        self.workers.report_shortage()
        if self.progress is None or not self.progress.is_active:
            self._write(block)
            self.sink.flush()
            return
        # A run is resumed behind a whole block: one that is computed is written before Ctrl-C ends the run.
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
            if result.status == "failed":
                self._stop_after(result)
            if must_end():
                raise KeyboardInterrupt

    def _stop_after(self, result: Result) -> None:
        """End the run where enough have failed, with this one the last."""
        failed = self.receipt.failed
        if self.max_errors is not None and failed >= self.max_errors:
            noun = "record" if failed == 1 else "records"
            raise StoppedEarlyError(f"stopped: {failed} {noun} failed", where=result.record.where)

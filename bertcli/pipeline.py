"""The flow: records go one way, source → feed → plan → engine → task → sink. Start reading here.

`run` is the whole of it. The rooms it passes through are `sources` (what a record is), `tasks` (how a record
becomes windows and how arrays become its answer), `planning` (which windows run together), `engines` (the
arithmetic) and `sinks` (how a result is written).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from bertcli.engines import Engine
from bertcli.errors import EngineError, StoppedEarlyError
from bertcli.feed import Feed
from bertcli.planning import Block, Pack, Plan
from bertcli.records import Problem, Result, Window
from bertcli.sinks import Sink
from bertcli.tasks import Task

BLOCKS_AHEAD = 2  # one is computed while the next is read and tokenised


class Counter(Protocol):
    """Is told about every result; a `receipt.Receipt` in the program."""

    @property
    def failed(self) -> int: ...

    def add(self, result: Result) -> None: ...


def run(
    feed: Feed,
    *,
    task: Task,
    engine: Engine,
    plan: Plan,
    sink: Sink,
    receipt: Counter,
    max_errors: int | None = None,
) -> None:
    """Carry every record through the task to the sink, in input order.

    When the input pauses, everything read so far is answered at once. Raises StoppedEarlyError once
    `max_errors` records have failed; everything up to the last of them has been written then.
    """
    with Workers(task, engine) as workers:
        started: deque[tuple[Block, list[tuple[Pack, Future[list[Any]]]]]] = deque()
        for block in plan.blocks(feed, task):
            if block is not None:
                started.append((block, workers.start(block)))
            while started and (block is None or len(started) >= BLOCKS_AHEAD):
                _finish(*started.popleft(), sink, receipt, max_errors)
            if block is None:
                sink.flush()
        while started:
            _finish(*started.popleft(), sink, receipt, max_errors)


def _finish(
    block: Block,
    running: list[tuple[Pack, Future[list[Any]]]],
    sink: Sink,
    receipt: Counter,
    max_errors: int | None,
) -> None:
    """Wait for a block's packs and write its results."""
    for pack, future in running:
        pack.settle(future.result())
    for result in block.results():
        sink.write(result)
        receipt.add(result)
        if max_errors is not None and receipt.failed >= max_errors:
            noun = "record" if receipt.failed == 1 else "records"
            raise StoppedEarlyError(f"stopped: {receipt.failed} {noun} failed", where=result.record.where)


class Workers:
    """Threads that run packs, as many at once as the engine wants."""

    def __init__(self, task: Task, engine: Engine) -> None:
        self._task = task
        self._engine = engine
        self._pool = ThreadPoolExecutor(engine.workers, thread_name_prefix="worker")

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def start(self, block: Block) -> list[tuple[Pack, Future[list[Any]]]]:
        """Begin all packs of a block."""
        return [(pack, self._pool.submit(self._forward, pack.windows)) for pack in block.packs()]

    def _forward(self, windows: Sequence[Window]) -> list[Any]:
        """Outputs of the windows; where the arithmetic fails, the pack is halved until the window that
        fails stands alone, and a Problem takes its place."""
        try:
            return self._task.forward(self._engine, windows)
        except (RuntimeError, ValueError, IndexError, MemoryError, ArithmeticError) as error:
            if len(windows) == 1:
                told = isinstance(error, EngineError)
                return [Problem("engine", str(error) if told else f"{type(error).__name__}: {error}")]
        middle = len(windows) // 2
        return self._forward(windows[:middle]) + self._forward(windows[middle:])

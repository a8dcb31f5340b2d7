"""Threads that run batches, and isolate failures.

If the engine raises, or returns values that are not finite, the batch is split in halves until the failing window
is alone; only its record fails. If memory runs out, splitting finds a size that fits, and later batches are no
larger. A window that does not fit by itself is tried once more while no other batch runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bertcli.engines import Engine
from bertcli.engines.memory import ran_out
from bertcli.errors import BertcliError
from bertcli.records import Problem, Window
from bertcli.tasks import Task

if TYPE_CHECKING:
    from bertcli.planning import Batch, Block

Running = list[tuple["Batch", Future[list[Any]]]]


class Workers:
    """Runs `count` batches at once, as many as the engine wants. `most_tokens` is the largest batch since memory ran
    out, None before; `report_shortage` passes it to `on_shortage`, once."""

    def __init__(self, task: Task, engine: Engine, on_shortage: Callable[[int], None]) -> None:
        self.most_tokens: int | None = None
        self.count = engine.workers
        self._on_shortage = on_shortage
        self._is_reported = False
        self._task = task
        self._engine = engine
        self._pool = ThreadPoolExecutor(engine.workers, thread_name_prefix="worker")
        self._turns = _Turns()
        self._shrinking = threading.Lock()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A run that failed or is interrupted does not wait for the batches that still run.
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def start(self, block: Block) -> Running:
        """Start all batches of a block."""
        return [(batch, self._pool.submit(self._forward, batch.windows)) for batch in block.batches()]

    def report_shortage(self) -> None:
        """Report once that memory ran out; called from the main thread, which writes the terminal."""
        if self.most_tokens is not None and not self._is_reported:
            self._is_reported = True
            self._on_shortage(self.most_tokens)

    def _forward(self, windows: Sequence[Window]) -> list[Any]:
        """One output for each window, a Problem where the window fails."""
        if len(windows) > 1 and self._is_too_much(windows):
            return self._halves(windows)
        try:
            with self._turns.beside_others():
                return self._task.forward(self._engine, windows)
        except Exception as error:
            problem, short = _problem(error), ran_out(error)
        # Outside the handler the error is freed, and the memory that its traceback references.
        if len(windows) == 1:
            return [self._alone(windows) if short else problem]
        if short:
            self._shrink(windows)
        return self._halves(windows)

    def _halves(self, windows: Sequence[Window]) -> list[Any]:
        middle = len(windows) // 2
        return self._forward(windows[:middle]) + self._forward(windows[middle:])

    def _alone(self, windows: Sequence[Window]) -> Any:
        """The output of one window while no other batch runs."""
        try:
            with self._turns.alone():
                return self._task.forward(self._engine, windows)[0]
        except Exception as error:
            return _problem(error)

    def _is_too_much(self, windows: Sequence[Window]) -> bool:
        return self.most_tokens is not None and sum(map(len, windows)) > self.most_tokens

    def _shrink(self, windows: Sequence[Window]) -> None:
        half = max(1, sum(map(len, windows)) // 2)
        with self._shrinking:
            self.most_tokens = min(self.most_tokens or half, half)


def _problem(error: Exception) -> Problem:
    """The problem of the record that failed. Raises errors of the model or engine that every record would
    meet."""
    if isinstance(error, BertcliError):
        if isinstance(error, ArithmeticError):
            return Problem("engine", error.message)
        raise error
    if ran_out(error):
        return Problem("engine", "memory ran out on this text; a smaller --max-length needs less")
    return Problem("engine", f"{type(error).__name__}: {error}".rstrip(": "))


class _Turns:
    """A lock: many run at once (`beside_others`), or one by itself (`alone`)."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._claimed = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._claimed)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._claimed)
            self._claimed = True
            self._changed.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._changed:
                self._claimed = False
                self._changed.notify_all()

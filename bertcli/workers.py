"""Threads that run batches, and what becomes of a batch that fails.

Where the arithmetic raises, or its answer is not a number, the batch is halved until the window at fault
stands alone: only its record fails. Where memory runs out the same halving finds what fits, and from then on
no batch of the run is larger; a window that does not even fit alone is tried once more with no other batch
beside it, so that no record fails for its neighbours' appetite.
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
    """Runs as many batches at once as the engine wants. `most_tokens` is how many tokens a batch may have since
    memory ran out, None as long as it did not; `report_shortage` hands it to `on_shortage`, once."""

    def __init__(self, task: Task, engine: Engine, on_shortage: Callable[[int], None]) -> None:
        self.most_tokens: int | None = None
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
        # what is still running when the run has failed or is interrupted is waited for by nobody
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def start(self, block: Block) -> Running:
        """Begin all batches of a block."""
        return [(batch, self._pool.submit(self._forward, batch.windows)) for batch in block.batches()]

    def report_shortage(self) -> None:
        """Say that memory ran out, if it did and nobody knows yet; for the thread that owns the terminal."""
        if self.most_tokens is not None and not self._is_reported:
            self._is_reported = True
            self._on_shortage(self.most_tokens)

    def _forward(self, windows: Sequence[Window]) -> list[Any]:
        """One output a window, a Problem where the window fails."""
        if len(windows) > 1 and self._is_too_much(windows):
            return self._halves(windows)
        try:
            with self._turns.beside_others():
                return self._task.forward(self._engine, windows)
        except Exception as error:
            problem, short = _problem(error), ran_out(error)
        # the error is gone by now, and with it the memory that its traceback held
        if len(windows) == 1:
            return [self._alone(windows) if short else problem]
        if short:
            self._shrink(windows)
        return self._halves(windows)

    def _halves(self, windows: Sequence[Window]) -> list[Any]:
        middle = len(windows) // 2
        return self._forward(windows[:middle]) + self._forward(windows[middle:])

    def _alone(self, windows: Sequence[Window]) -> Any:
        """The output of one window with no other batch in memory."""
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
    """What is written of a record that failed. Raises an error that would meet every record: of a model or
    an engine that cannot answer at all."""
    if isinstance(error, BertcliError):
        if isinstance(error, ArithmeticError):
            return Problem("engine", error.message)
        raise error
    if ran_out(error):
        return Problem("engine", "memory ran out on this text; a smaller --max-length needs less")
    return Problem("engine", f"{type(error).__name__}: {error}".rstrip(": "))


class _Turns:
    """Many run beside each other, or one alone."""

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

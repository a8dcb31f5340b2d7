"""An engine whose batches are computed by workers on other machines: which worker gets which batch, and what is done
about a worker that dies.

All decisions are made in one thread, which reads one queue of events. It does not know Ray: a `Fleet` starts workers
and carries batches to them (`cluster.RayFleet`; a simulated one in the tests).
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from bertcli import console
from bertcli.engines import available_cores
from bertcli.errors import BertcliError, EngineError
from bertcli.receipt import Usage
from bertcli.records import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array, Ask
    from bertcli.engines.seq2seq import Generation, Hypothesis, Phrase

ATTEMPTS = 3  # of a batch whose workers die, and of workers that die while they start
PATIENCE = 15.0  # seconds without any worker before the user is told what the run waits for
PROBE = 2.0  # seconds between two looks at whether the cluster is there
LOST = 20.0  # seconds without the cluster that end the run: Ray ends the process after 60
ENDING = 10.0  # seconds that closing waits for the thread
RESUME = "with -o FILE, --resume continues the run, on a cluster or without one"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker says when its engine is open. `concurrency` is how many batches it computes at once."""

    name: str
    device: str
    dtype: str
    batch_tokens: int
    batch_invariant: bool
    concurrency: int
    node: str


class WorkerDiedError(Exception):
    """A worker ended before it answered. `short` says that memory was the reason."""

    def __init__(self, reason: str, *, short: bool = False) -> None:
        super().__init__(reason)
        self.short = short


Done = Callable[[Any], None]
"""Takes an answer, or the exception that came instead."""


class Fleet(Protocol):
    """Workers by number. `start` and `submit` return at once and call `done` later, from any thread: with Facts or
    answers, with WorkerDiedError, or with another exception."""

    def start(self, number: int, done: Done) -> None: ...

    def submit(self, number: int, method: str, arguments: Sequence[Any], done: Done) -> None:
        """Have a worker call a method of its engine."""

    def stop(self, number: int) -> None:
        """End a worker, also one that has died or never started."""

    def is_reachable(self) -> bool:
        """Whether the cluster is there. May take seconds."""

    def close(self) -> None:
        """Leave the cluster. Workers that were not stopped end too."""


@dataclass(eq=False, slots=True)
class _Batch:
    method: str
    arguments: tuple[Any, ...]
    answer: Future[Any] = field(default_factory=Future)
    deaths: int = 0


@dataclass(eq=False, slots=True)
class _Worker:
    number: int
    facts: Facts | None = None
    batches: set[_Batch] = field(default_factory=set)


class RemoteEngine:
    """An Engine of `count` workers. Opening it waits for the first one; the others join when they are ready, which may
    be when the cluster grows. Each has one batch more than it computes at once, so that it never waits for the next.

    Raises EngineError when a worker refuses the model, when workers compute in different ways, and when the cluster is
    lost; `forward` raises it then, too. `usage` counts workers, nodes and retries. `workers_here` is how many workers
    such an engine would have on this machine alone.
    """

    def __init__(self, fleet: Fleet, count: int, waits_for: str) -> None:
        self.usage = Usage()
        self._fleet, self._waits_for = fleet, waits_for
        self._events: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[_Batch] = deque()
        self._workers: dict[int, _Worker] = {}
        self._started = 0
        self._early_deaths = 0
        self._first: Future[Facts] = Future()
        self._nodes: set[str] = set()
        self._fatal: BertcliError | None = None
        self._closed = threading.Event()
        context = contextvars.copy_context()  # which has the console of this run
        self._thread = threading.Thread(target=context.run, args=(self._handle_events,), daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            for _ in range(count):
                self._events.put(self._start_worker)
            facts = self._wait_for_first()
        except BaseException:
            self.close()
            raise
        self.name, self.device, self.dtype = facts.name, facts.device, facts.dtype
        self.batch_tokens, self.batch_invariant = facts.batch_tokens, facts.batch_invariant
        self.workers = count * (facts.concurrency + 1)
        self.workers_here = _workers_here(facts)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        return self.forward_all(windows, [ask])[0]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        answers: list[list[Array]] = self._compute("forward_all", windows, asks)
        return answers

    def close(self) -> None:
        """Stop all workers and leave the cluster. Batches without an answer fail."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._events.put(None)
        self._thread.join(ENDING)
        self._fleet.close()

    def _compute(self, method: str, *arguments: Any) -> Any:
        """What a method of a worker's engine returns."""
        batch = _Batch(method, arguments)
        self._events.put(lambda: self._add(batch))
        return batch.answer.result()

    def _wait_for_first(self) -> Facts:
        try:
            return self._first.result(PATIENCE)
        except TimeoutError:
            console.warn(f"waiting for the cluster to start a worker with {self._waits_for}")
        return self._first.result()

    # What follows runs in the thread of events.

    def _handle_events(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                event()
                self._assign()
            except Exception as error:  # of the cluster, to whose code it belongs
                self._fail(EngineError(f"the cluster failed: {type(error).__name__}: {error}", hint=RESUME))
        self._fail(EngineError("the workers were stopped"))
        for number in self._workers:
            self._fleet.stop(number)

    def _watch(self) -> None:
        """Report a cluster that is gone. Runs in a thread of its own, for a look may take long."""
        missing = 0.0
        while not self._closed.wait(PROBE):
            missing = 0.0 if self._fleet.is_reachable() else missing + PROBE
            if missing >= LOST:
                lost = EngineError(f"the Ray cluster has not answered for {missing:.0f} s", hint=RESUME)
                self._events.put(partial(self._fail, lost))
                return

    def _start_worker(self) -> None:
        self._started += 1
        worker = self._workers[self._started] = _Worker(self._started)
        self._fleet.start(worker.number, lambda facts: self._events.put(lambda: self._opened(worker, facts)))

    def _opened(self, worker: _Worker, facts: Facts | WorkerDiedError | Exception) -> None:
        if worker.number not in self._workers:
            return None
        if isinstance(facts, WorkerDiedError):
            self._early_deaths += 1
            if self._early_deaths >= ATTEMPTS:
                return self._fail(EngineError(f"workers die while they start: {facts}", hint=RESUME))
            return self._replace(worker, facts)
        if isinstance(facts, Exception):
            return self._fail(facts)
        if not self._first.done():
            self._first.set_result(facts)
        elif others := _differences(self._first.result(), facts):
            return self._fail(
                EngineError(
                    f"the workers compute differently: {others}",
                    hint="name --engine, --device, --dtype and --batch-tokens, or use machines of one kind",
                )
            )
        self._early_deaths = 0
        worker.facts = facts
        self._nodes.add(facts.node)
        ready = sum(other.facts is not None for other in self._workers.values())
        self.usage.workers, self.usage.nodes = max(self.usage.workers, ready), len(self._nodes)
        return None

    def _add(self, batch: _Batch) -> None:
        if self._fatal is not None:
            batch.answer.set_exception(self._fatal)
        else:
            self._waiting.append(batch)

    def _assign(self) -> None:
        """Give waiting batches to the workers with the fewest."""
        while self._waiting and self._fatal is None:
            free = [
                (len(worker.batches) / worker.facts.concurrency, worker.number)
                for worker in self._workers.values()
                if worker.facts is not None and len(worker.batches) <= worker.facts.concurrency
            ]
            if not free:
                return
            self._submit(self._workers[min(free)[1]], self._waiting.popleft())

    def _submit(self, worker: _Worker, batch: _Batch) -> None:
        worker.batches.add(batch)
        self._fleet.submit(
            worker.number,
            batch.method,
            batch.arguments,
            lambda answer: self._events.put(lambda: self._answered(worker, batch, answer)),
        )

    def _answered(self, worker: _Worker, batch: _Batch, answer: Any) -> None:
        if batch not in worker.batches:
            return  # its worker was given up
        worker.batches.remove(batch)
        if isinstance(answer, WorkerDiedError):
            self._retry(batch, answer)
            self._replace(worker, answer)
        elif isinstance(answer, Exception):
            batch.answer.set_exception(answer)
        else:
            batch.answer.set_result(answer)

    def _retry(self, batch: _Batch, death: WorkerDiedError) -> None:
        batch.deaths += 1
        if batch.deaths < ATTEMPTS:
            self.usage.retries += 1
            self._waiting.appendleft(batch)
        elif death.short:  # the batch will be halved, as on one machine
            batch.answer.set_exception(MemoryError(str(death)))
        else:
            batch.answer.set_exception(RuntimeError(f"{ATTEMPTS} workers died on it: {death}"))

    def _replace(self, worker: _Worker, death: WorkerDiedError) -> None:
        """Start another worker in the place of one that died; its other batches are computed again."""
        if self._workers.pop(worker.number, None) is None:
            return
        console.warn(f"a worker died, and another one is started: {death}")
        self._fleet.stop(worker.number)
        for batch in worker.batches:
            self.usage.retries += 1
            self._waiting.appendleft(batch)
        worker.batches.clear()
        self._start_worker()

    def _fail(self, error: Exception) -> None:
        """End the run with the first error that concerns all batches."""
        if self._fatal is not None:
            return
        self._fatal = error if isinstance(error, BertcliError) else EngineError(str(error))
        if not self._first.done():
            self._first.set_exception(self._fatal)
        unanswered = [batch for worker in self._workers.values() for batch in worker.batches]
        for batch in (*self._waiting, *unanswered):
            batch.answer.set_exception(self._fatal)
        self._waiting.clear()
        for worker in self._workers.values():
            worker.batches.clear()


class RemoteGenerator(RemoteEngine):
    """A Seq2SeqEngine of such workers."""

    def generate(self, windows: Sequence[Window], how: Generation) -> list[list[Hypothesis]]:
        found: list[list[Hypothesis]] = self._compute("generate", windows, how)
        return found


class RemoteDecoder(RemoteGenerator):
    """A DecoderEngine of such workers."""

    def constrain(self, window: Window, phrases: Sequence[Phrase], how: Generation) -> list[Hypothesis]:
        found: list[Hypothesis] = self._compute("constrain", window, phrases, how)
        return found

    def align(
        self, windows: Sequence[Window], targets: Sequence[Sequence[int]], how: Generation
    ) -> list[Array]:
        weights: list[Array] = self._compute("align", windows, targets, how)
        return weights


def _workers_here(facts: Facts) -> int:
    """How many workers such an engine would have on this machine alone. transformers' `generate` computes one batch."""
    return available_cores() if facts.device == "cpu" and facts.name != "transformers" else 1


class PackedWindows(NamedTuple):
    """Windows behind each other in arrays, which costs less to send than each by itself: the `ids`, the token types,
    and of each window the rest. None stands for what all windows have: `fresh` as a whole, no masks, nothing before."""

    ids: NDArray[np.integer]
    types: NDArray[np.integer] | None
    lengths: list[int]
    fresh: list[tuple[int, int]] | None
    masks: list[tuple[int, ...]] | None
    before: list[int] | None

    def windows(self) -> list[Window]:
        found = []
        ids = self.ids.tolist()
        types = None if self.types is None else self.types.tolist()
        stop = 0
        for place, length in enumerate(self.lengths):
            start, stop = stop, stop + length
            found.append(
                Window(
                    ids[start:stop],
                    None if types is None else types[start:stop],
                    (0, length) if self.fresh is None else self.fresh[place],
                    () if self.masks is None else self.masks[place],
                    before=0 if self.before is None else self.before[place],
                )
            )
        return found


def packed(windows: Sequence[Window]) -> PackedWindows | Sequence[Window]:
    """Windows as an engine needs them, which is without offsets; as they are where they differ in more than what
    `PackedWindows` has."""
    first = windows[0]
    if any(
        type(window) is not Window or window.unattended or (window.types is None) != (first.types is None)
        for window in windows
    ):
        return windows
    lengths = [len(window.ids) for window in windows]
    fresh = [window.fresh for window in windows]
    masks = [window.masks for window in windows]
    before = [window.before for window in windows]
    return PackedWindows(
        _joined([window.ids for window in windows]),
        None if first.types is None else _joined([window.types or () for window in windows]),
        lengths,
        None if fresh == [(0, length) for length in lengths] else fresh,
        masks if any(masks) else None,
        before if any(before) else None,
    )


def _joined(numbers: Sequence[Sequence[int]]) -> NDArray[np.integer]:
    joined = np.fromiter(chain.from_iterable(numbers), np.int32, sum(map(len, numbers)))
    return joined.astype(np.uint16) if joined.max(initial=0) < 1 << 16 else joined


class Stacked(NamedTuple):
    """Arrays behind each other in one, which costs less to send; `lengths` of each, None where it is one row."""

    array: Array
    lengths: list[int] | None

    def split(self) -> list[Array]:
        """The arrays, with memory that is not that of the object store."""
        array = np.array(self.array)
        if self.lengths is None:
            return list(array)
        stops = np.cumsum(self.lengths).tolist()
        return [array[stop - length : stop] for stop, length in zip(stops, self.lengths, strict=True)]


def stacked(answers: list[Array]) -> Stacked:
    """Answers of an engine to one ask: vectors of one length, or matrices of one width."""
    if answers[0].ndim == 1:
        return Stacked(np.stack(answers), None)
    return Stacked(np.concatenate(answers), list(map(len, answers)))


def owned(answer: Any) -> Any:
    """An answer whose arrays have memory of their own: what comes out of an object store is read-only, and stays in it
    as long as it is referenced."""
    if isinstance(answer, Stacked):
        return answer.split()
    if isinstance(answer, np.ndarray):
        return np.array(answer)
    return [owned(each) for each in answer] if isinstance(answer, list) else answer


def _differences(first: Facts, other: Facts) -> str:
    """What of two workers' engines is not the same, in words."""
    names = ("name", "device", "dtype", "batch_tokens", "batch_invariant")
    pairs = [(name, getattr(first, name), getattr(other, name)) for name in names]
    return ", ".join(f"{name} {one} and {two}" for name, one, two in pairs if one != two)

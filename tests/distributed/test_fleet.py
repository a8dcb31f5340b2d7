from __future__ import annotations

import pickle
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bertcli.distributed import fleet
from bertcli.distributed.fleet import (
    Done,
    Facts,
    PackedWindows,
    RemoteEngine,
    WorkerDiedError,
    owned,
    packed,
    stacked,
)
from bertcli.engines import Hidden
from bertcli.errors import EngineError
from bertcli.records import Window
from bertcli.tasks.masking import ScoringWindow

FACTS = Facts("packed", "cpu", "float32", 64, True, 1, "node")


class FakeFleet:
    """Workers that answer with the ids of the windows after `seconds`. `behaviour` decides what a worker does instead:
    an exception for the batch, or None. `opening` gives what a worker says when it starts; None never comes."""

    def __init__(
        self,
        behaviour: Callable[[int, Sequence[Window]], Exception | None] = lambda number, windows: None,
        opening: Callable[[int], Facts | Exception | None] = lambda number: FACTS,
        seconds: float = 0.0,
    ) -> None:
        self.behaviour, self.opening, self.seconds = behaviour, opening, seconds
        self.started: list[int] = []
        self.stopped: list[int] = []
        self.closed = False
        self.reachable = True
        self.busy: dict[int, int] = {}
        self.most_in_flight = 0
        self._computing: dict[int, threading.Lock] = {}

    def start(self, number: int, done: Done) -> None:
        self.started.append(number)
        self.busy[number] = 0
        self._computing[number] = threading.Lock()
        facts = self.opening(number)
        if facts is not None:
            threading.Thread(target=done, args=(facts,), daemon=True).start()

    def submit(self, number: int, method: str, arguments: Sequence[Any], done: Done) -> None:
        assert method == "forward_all"
        windows, asks = arguments
        self.busy[number] += 1
        self.most_in_flight = max(self.most_in_flight, self.busy[number])

        def compute() -> None:
            with self._computing[number]:
                time.sleep(self.seconds)
            self.busy[number] -= 1
            problem = self.behaviour(number, windows)
            done(problem or [[np.array(window.ids, np.float32) for window in windows] for _ in asks])

        threading.Thread(target=compute, daemon=True).start()

    def stop(self, number: int) -> None:
        self.stopped.append(number)

    def is_reachable(self) -> bool:
        return self.reachable

    def close(self) -> None:
        self.closed = True


def compute(engine: RemoteEngine, batches: int) -> list[float]:
    """The first id of each of so many batches, asked for by as many threads as the engine wants."""
    with ThreadPoolExecutor(engine.workers) as pool:
        windows = [[Window([number])] for number in range(batches)]
        return [
            float(answer[0][0]) for answer in pool.map(lambda each: engine.forward(each, Hidden()), windows)
        ]


def open_engine(fake: FakeFleet, count: int = 2) -> RemoteEngine:
    return RemoteEngine(fake, count, "1 CPU")


def test_every_batch_gets_its_own_answer_and_a_worker_has_one_batch_more_than_it_computes() -> None:
    fake = FakeFleet(seconds=0.002)
    engine = open_engine(fake, 3)
    assert (engine.name, engine.dtype, engine.workers) == ("packed", "float32", 6)
    assert compute(engine, 60) == list(range(60))
    engine.close()
    assert fake.most_in_flight == 2
    assert str(engine.usage) == "3 workers on 1 node"
    assert fake.closed
    assert sorted(fake.stopped) == [1, 2, 3]


def test_batches_of_a_worker_that_dies_are_computed_by_others() -> None:
    died = threading.Event()

    def die_once(number: int, windows: Sequence[Window]) -> Exception | None:
        if number == 1 and windows[0].ids[0] >= 5:
            died.set()
            return WorkerDiedError("its process ended")
        return None

    fake = FakeFleet(die_once, seconds=0.002)
    engine = open_engine(fake)
    assert compute(engine, 60) == list(range(60))
    engine.close()
    assert died.is_set()
    assert fake.started == [1, 2, 3]
    assert engine.usage.retries >= 1
    assert "retr" in str(engine.usage)


@pytest.mark.parametrize(("short", "expected"), [(False, RuntimeError), (True, MemoryError)])
def test_a_batch_whose_workers_always_die_fails_alone(short: bool, expected: type[Exception]) -> None:
    def die_on_seven(number: int, windows: Sequence[Window]) -> Exception | None:
        return WorkerDiedError("its process ended", short=short) if windows[0].ids[0] == 7 else None

    engine = open_engine(FakeFleet(die_on_seven))
    with pytest.raises(expected, match="its process ended"):
        engine.forward([Window([7])], Hidden())
    assert compute(engine, 7) == list(range(7))
    engine.close()


def test_an_error_of_the_engine_is_raised_as_it_is() -> None:
    def refuse(number: int, windows: Sequence[Window]) -> Exception | None:
        return ZeroDivisionError("by zero") if windows[0].ids[0] == 1 else None

    engine = open_engine(FakeFleet(refuse))
    with pytest.raises(ZeroDivisionError, match="by zero"):
        engine.forward([Window([1])], Hidden())
    assert compute(engine, 1) == [0]
    engine.close()


def test_a_worker_that_starts_late_joins() -> None:
    waiting: list[Done] = []

    class Growing(FakeFleet):
        def start(self, number: int, done: Done) -> None:
            super().start(number, done)
            if number == 2:
                waiting.append(done)

    fake = Growing(opening=lambda number: FACTS if number == 1 else None)
    engine = open_engine(fake)
    assert engine.workers == 4
    assert compute(engine, 4) == list(range(4))
    assert str(engine.usage) == "1 worker on 1 node"
    waiting[0](replace(FACTS, node="another"))
    assert compute(engine, 40) == list(range(40))
    assert str(engine.usage) == "2 workers on 2 nodes"
    engine.close()


def test_a_worker_that_refuses_the_model_ends_the_run() -> None:
    fake = FakeFleet(opening=lambda number: EngineError("the model is another one"))
    with pytest.raises(EngineError, match="another one"):
        open_engine(fake)
    assert fake.closed


def test_workers_that_compute_differently_are_refused() -> None:
    fake = FakeFleet(opening=lambda number: replace(FACTS, dtype=("float32", "bfloat16")[number - 1]))
    with pytest.raises(EngineError, match=r"dtype (float32 and bfloat16|bfloat16 and float32)"):
        compute(open_engine(fake), 1000)


def test_workers_that_die_while_they_start_end_the_run() -> None:
    fake = FakeFleet(opening=lambda number: WorkerDiedError("its process ended"))
    with pytest.raises(EngineError, match="die while they start: its process ended"):
        open_engine(fake, 1)
    assert len(fake.started) == fleet.ATTEMPTS


def test_a_cluster_that_is_lost_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PROBE", 0.01)
    monkeypatch.setattr(fleet, "LOST", 0.05)
    fake = FakeFleet(seconds=60)
    engine = open_engine(fake)
    fake.reachable = False
    with pytest.raises(EngineError, match="has not answered"):
        compute(engine, 4)
    with pytest.raises(EngineError, match="has not answered"):
        engine.forward([Window([1])], Hidden())
    engine.close()


@pytest.mark.parametrize("shapes", [[(3,), (3,)], [(2, 3), (1, 3), (4, 3)], [(0, 2), (1, 2)]])
def test_answers_are_the_same_when_they_have_travelled_as_one_array(shapes: list[tuple[int, ...]]) -> None:
    answers = [np.random.default_rng(7).standard_normal(shape).astype(np.float32) for shape in shapes]
    sent = pickle.loads(pickle.dumps([stacked(answers), stacked(answers[:1])]))
    sent[0].array.flags.writeable = False  # as it comes out of an object store
    for found, expected in zip(owned(sent), (answers, answers[:1]), strict=True):
        assert [each.tolist() for each in found] == [each.tolist() for each in expected]
        assert all(each.flags.writeable for each in found)


def test_closing_ends_what_waits() -> None:
    fake = FakeFleet(seconds=60)
    engine = open_engine(fake, 1)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(engine.forward, [Window([1])], Hidden()) for _ in range(4)]
        time.sleep(0.05)
        engine.close()
        for answer in answers:
            with pytest.raises(EngineError, match="were stopped"):
                answer.result(timeout=5)


def test_a_hundred_slow_workers_are_kept_busy() -> None:
    fake = FakeFleet(seconds=0.2)
    engine = open_engine(fake, 100)
    assert engine.workers == 200
    began = time.monotonic()
    assert compute(engine, 1000) == list(range(1000))
    elapsed = time.monotonic() - began
    engine.close()
    assert engine.usage.workers == 100
    assert (
        elapsed < 10 * 1000 / 100 * 0.2
    )  # of 200 s in turn, on a busy machine; docs/scale.md has what was measured


@pytest.mark.parametrize("size", [3, 70_000])
@pytest.mark.parametrize("types", [None, [0, 1, 1]])
def test_windows_arrive_as_they_were_sent(size: int, types: list[int] | None) -> None:
    whole = [Window([size, 2, 3], types, (0, 3)), Window([], types and [], (0, 0))]
    parts = [Window(array("i", [1, 2, 3]), types, (1, 2), masks=(1,), before=4), *whole]
    for windows in (whole, parts):
        sent = pickle.loads(pickle.dumps(packed(windows)))
        assert isinstance(sent, PackedWindows)
        assert [replace(window, ids=list(window.ids)) for window in windows] == sent.windows()


def test_windows_that_know_more_are_sent_as_they_are() -> None:
    for windows in (
        [ScoringWindow([1], pieces=(2,))],
        [Window([1], unattended=1)],
        [Window([1], [0]), Window([1])],
    ):
        assert packed(windows) is windows

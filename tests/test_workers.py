"""What fails fails alone, and memory that runs out costs time and no record."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.engines.finite import NotFiniteError
from bertcli.engines.memory import ran_out
from bertcli.errors import EngineError
from bertcli.feed import Feed
from bertcli.pipeline import run
from bertcli.planning import Plan
from bertcli.records import Window
from tests.fakes import Count, EchoEngine, LetterTask, ListSink, records


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


# What libraries raise when memory runs out, word for word.
SHORTAGES: tuple[Callable[[], Exception], ...] = (
    MemoryError,
    lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        " to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
    ),
    lambda: RuntimeError("MPS backend out of memory (MPS allocated: 2 GB)"),
    lambda: RuntimeError("std::bad_alloc"),
)
shortages = pytest.mark.parametrize("shortage", SHORTAGES)


@dataclass
class SmallEngine(EchoEngine):
    """Has memory for so many tokens at once, in all of its threads together."""

    memory: int = 8
    shortage: Callable[[], Exception] = MemoryError
    used: int = 0
    most: int = 0
    failed: list[int] = field(default_factory=list)

    def forward(self, windows: Sequence[Window], ask: Any) -> list[Any]:
        size = sum(map(len, windows))
        with self.lock:
            if self.used + size > self.memory:
                self.failed.append(size)
                raise self.shortage()
            self.used += size
        try:
            threading.Event().wait(0.0005)
            return super().forward(windows, ask)
        finally:
            with self.lock:
                self.used -= size


def carry(texts: Sequence[str], engine: Any, told: list[int], batch: int = 16) -> ListSink:
    sink = ListSink()
    run(
        Feed(records(texts)),
        task=LetterTask(),
        engine=engine,
        plan=Plan(batch, engine.workers),
        sink=sink,
        receipt=Count(),
        on_shortage=told.append,
    )
    return sink


@pytest.mark.slow
@shortages
@given(
    texts=st.lists(st.text("abcdef", min_size=1, max_size=20), max_size=30),
    workers=st.integers(1, 3),
    memory=st.integers(4, 40),
)
def test_no_record_is_lost_to_a_shortage(
    shortage: Callable[[], Exception], texts: list[str], workers: int, memory: int
) -> None:
    engine = SmallEngine(workers=workers, memory=memory, shortage=shortage)
    told: list[int] = []
    results = carry(texts, engine, told).results
    assert [result.values["echo"] for result in results] == texts
    assert len(told) <= 1


def test_packs_stay_small_after_a_shortage() -> None:
    engine = SmallEngine(memory=5)
    told: list[int] = []
    texts = [f"{number:04}" for number in range(400)]
    assert [result.values["echo"] for result in carry(texts, engine, told).results] == texts
    assert told == [4]
    assert len(engine.failed) <= 3, "once is enough to learn it"


@shortages
def test_a_window_that_never_fits_fails_alone(shortage: Callable[[], Exception]) -> None:
    engine = SmallEngine(memory=3, shortage=shortage, workers=2)
    told: list[int] = []
    results = carry(["abc", "abcd", "ab", "a"], engine, told).results
    assert [result.status for result in results] == ["done", "failed", "done", "done"]
    assert results[1].problem is not None
    assert results[1].problem.type == "engine"
    assert "memory ran out" in results[1].problem.message


@pytest.mark.parametrize(
    "error", [KeyError("x"), TypeError("y"), RecursionError(), AssertionError(), OSError(5)]
)
def test_whatever_a_record_makes_the_engine_raise_only_it_fails(error: Exception) -> None:
    class Raising(EchoEngine):
        def forward(self, windows: Sequence[Window], ask: Any) -> list[Any]:
            if any(ord("p") in window.ids for window in windows):
                raise error
            return super().forward(windows, ask)

    results = carry(["abc", "p", "de"], Raising(), []).results
    assert [result.status for result in results] == ["done", "failed", "done"]
    assert results[1].problem is not None
    assert results[1].problem.message.startswith(type(error).__name__)


def test_an_engine_that_can_answer_nobody_ends_the_run() -> None:
    class Useless(EchoEngine):
        def forward(self, windows: Sequence[Window], ask: Any) -> list[Any]:
            raise EngineError("the model has no layer 9")

    with pytest.raises(EngineError, match="no layer"):
        carry(["abc"], Useless(), [])


def test_nan_is_an_error_of_its_record() -> None:
    class NotANumber(EchoEngine):
        def forward(self, windows: Sequence[Window], ask: Any) -> list[Any]:
            if any(ord("n") in window.ids for window in windows):
                raise NotFiniteError("the model's answer is not a finite number")
            return super().forward(windows, ask)

    results = carry(["a", "n", "b", "c"], NotANumber(), []).results
    assert [result.status for result in results] == ["done", "failed", "done", "done"]


def test_what_numpy_and_torch_raise_is_known() -> None:
    import torch

    with pytest.raises(MemoryError) as numpys:
        np.empty(2**60, np.float32)
    with pytest.raises(RuntimeError) as torchs:
        torch.empty(2**60)
    assert ran_out(numpys.value)
    assert ran_out(torchs.value)
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert ran_out(torch.OutOfMemoryError())

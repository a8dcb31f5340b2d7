"""One choice of settings, timed: the sample through the ordinary pipeline, but for reading and writing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertcli.feed import Feed
from bertcli.pipeline import run
from bertcli.planning import Plan

if TYPE_CHECKING:
    from bertcli.benchmark.agreement import Agreement
    from bertcli.benchmark.sample import Timed
    from bertcli.engines import Engine
    from bertcli.records import Record, Result
    from bertcli.tasks import Task

WARM_UP_TOKENS = (
    2048  # two passes: libraries prepare their kernels in the first, the second tells how many to time
)


@dataclass(frozen=True, slots=True)
class Choice:
    """Settings of an engine. `threads` counts CPU cores, `batch_tokens` the tokens that run together."""

    engine: str
    device: str
    dtype: str
    threads: int
    batch_tokens: int


@dataclass(frozen=True, slots=True)
class Trial:
    """What a choice came to on `texts` texts. They differ from trial to trial, so that tokens are what is
    timed; `texts_per_second` is worked out from the mean length of the whole sample."""

    choice: Choice
    texts: int
    texts_per_second: float
    tokens_per_second: float
    agreement: Agreement | None = None


@dataclass(slots=True)
class Answers:
    """A sink that keeps results."""

    results: list[Result] = field(default_factory=list)
    failed: int = 0

    def write(self, result: Result) -> None:
        self.results.append(result)

    def add(self, result: Result) -> None:
        self.failed += result.problem is not None

    def expect(self, more: int) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self, complete: bool) -> None:
        pass


def answers(records: Iterable[Record], task: Task, engine: Engine, choice: Choice) -> list[Result]:
    """The results of the pipeline, in order. The engine keeps the choice's number of workers."""
    engine.workers = choice.threads
    sink = Answers()
    plan = Plan(choice.batch_tokens, choice.threads)
    run(Feed(records), task=task, engine=engine, plan=plan, sink=sink, receipt=sink)
    return sink.results


def timed(
    sample: Sequence[Timed],
    task: Task,
    engine: Engine,
    choice: Choice,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Trial:
    """Time the choice on as much of the sample as takes about `seconds`."""

    def rate(part: Sequence[Timed]) -> float:
        began = clock()
        answers((timed.record for timed in part), task, engine, choice)
        return _tokens(part) / (clock() - began)

    warm_up = _first(sample, WARM_UP_TOKENS)
    rate(warm_up)
    part = _first(sample, int(rate(warm_up) * seconds))
    tokens_per_second = rate(part)
    return Trial(choice, len(part), tokens_per_second * len(sample) / _tokens(sample), tokens_per_second)


def _tokens(sample: Sequence[Timed]) -> int:
    return sum(timed.tokens for timed in sample)


def _first(sample: Sequence[Timed], tokens: int) -> Sequence[Timed]:
    """The first texts of the sample that hold so many tokens together, one at least."""
    total = 0
    for number, timed in enumerate(sample, 1):
        total += timed.tokens
        if total >= tokens:
            return sample[:number]
    return sample

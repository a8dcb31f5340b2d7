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

WARM_UP_TOKENS = 2048  # libraries prepare their kernels in the first passes
WARM_UP_SHARE = 0.25  # of the seconds
GROWTH = 4  # of one pass of the warm-up over the one before


@dataclass(frozen=True, slots=True)
class EngineSettings:
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

    choice: EngineSettings
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


def answers(records: Iterable[Record], task: Task, engine: Engine, choice: EngineSettings) -> list[Result]:
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
    choice: EngineSettings,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Trial:
    """Time the choice for about `seconds`, warm-up included, on as much of the sample as that takes, or on
    all of it several times. At least one text is timed, after one has been computed without."""

    def seconds_for(part: Sequence[Timed]) -> float:
        began = clock()
        answers((timed.record for timed in part), task, engine, choice)
        return clock() - began

    began = clock()
    warm_up = _first(sample, 1)
    spent = seconds_for(warm_up)
    while (
        _tokens(warm_up) < min(WARM_UP_TOKENS, _tokens(sample)) and clock() - began < seconds * WARM_UP_SHARE
    ):
        warm_up = _first(sample, GROWTH * _tokens(warm_up))
        spent = seconds_for(warm_up)
    part = _first(sample, int(_tokens(warm_up) / spent * (seconds - (clock() - began))))
    passes, spent = 1, seconds_for(part)
    while clock() - began + spent / passes / 2 < seconds:
        passes, spent = passes + 1, spent + seconds_for(part)
    tokens_per_second = passes * _tokens(part) / spent
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

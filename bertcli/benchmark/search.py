"""Which choices are tried: first engines and dtypes, then numbers of threads, then sizes of batches.

Each time with the best so far: all combinations would take an hour and show little more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bertcli.benchmark.agreement import agreement
from bertcli.benchmark.trial import EngineSettings, Trial, answers, timed
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.benchmark.sample import Timed
    from bertcli.engines import Engine
    from bertcli.records import Result
    from bertcli.requests import ComputeDtype, EngineName
    from bertcli.tasks import Task

    Make = Callable[[EngineName, ComputeDtype], Engine]

ENGINES: tuple[tuple[EngineName, ComputeDtype], ...] = (
    ("packed", "float32"),
    ("packed", "auto"),
    ("packed", "float16"),
    ("packed", "int8"),
    ("instant", "float32"),
)
"""The first gives the answers that others are compared with; the second is what a long run gets by itself."""
START = 1.3  # times as long as an engine takes to load takes a process that loads one to start and end
NEEDED = 2  # of the engines: they are tried even when the time is up
COARSE = frozenset(
    ["int8"]
)  # reported, and the best only where the user has said how far its answers may be off

BATCHES = (0.25, 0.5, 2, 4)  # of the engine's own size
COMPARED = 100  # texts at most
COMPARED_AT_ONCE = 5
FEWER_THREADS = 2  # about how many trials with fewer threads there are
ROUNDS = 3  # of the best against the default
NOISE = 0.03  # the part by which a choice must be faster than a more ordinary one


class SettingsSearch:
    """`make` makes an engine of a name and a dtype, or raises EngineError. `agree` is the `Agreement.share` from which
    on a coarse dtype may be the best.

    All trials and the loading of models together end `seconds` after the search was made, less `loading`, or
    as soon as the engines that are needed have been tried.

    `loading` is how long the first engine took to load: a whole run, which comes after, takes as long.
    While `trials` runs, `default` is what a long run gets without settings, `best` what has served the
    sample best so far, and `plain` the same engine in the same dtype with its own threads and batches. At the
    end the best has been measured against the default in turn, and is the default if it was not faster.
    """

    default: Trial
    plain: Trial
    best: Trial

    def __init__(
        self,
        sample: Sequence[Timed],
        task: Task,
        make: Make,
        *,
        seconds: float,
        agree: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sample = sample
        self._task = task
        self._make = make
        self._agree = agree
        self._clock = clock
        self._end = clock() + seconds
        self.loading = 0.0
        self._engine: Engine  # of the best
        self._default_engine: Engine
        self._reference: list[Result] = []

    def trials(self) -> Iterator[Trial]:
        """Try choices one after the other. Raises the first EngineError where no engine could be made."""
        yield from self._engines()
        yield from self._variations(self._fewer_threads(), after=len(BATCHES) + 2 * ROUNDS)
        yield from self._variations(self._other_batches(), after=2 * ROUNDS)
        if self.best.choice != self.default.choice:
            self._settle()

    def _engines(self) -> Iterator[Trial]:
        tried: set[tuple[str, str]] = set()
        errors = []
        loading = 0.0
        for number, (name, dtype) in enumerate(ENGINES):
            if number >= NEEDED and tried and self._left < loading:
                continue
            began = self._clock()
            try:
                engine = self._make(name, dtype)
            except EngineError as error:
                errors.append(error)
                continue
            loading = self._clock() - began
            if not tried:
                self.loading = loading
                self._end -= START * loading
            if (name, engine.dtype) in tried:
                continue
            after = len(ENGINES) - number - 1 + FEWER_THREADS + len(BATCHES) + 2 * ROUNDS
            trial = self._first_trial(engine, after)
            if not tried:
                self.default = self.best = self.plain = trial
                self._engine = self._default_engine = engine
            if dtype == "auto":
                self.default, self._default_engine = trial, engine
            tried.add((name, engine.dtype))
            yield trial
            if dtype in COARSE and not self._may_be_best(trial):
                continue
            if _is_faster(trial, self.best) or (dtype == "auto" and not _is_faster(self.best, trial)):
                self.best = self.plain = trial
                self._engine = engine
        if not tried:
            raise errors[0]

    def _may_be_best(self, trial: Trial) -> bool:
        """Whether the answers of a coarse dtype agree as much as the user has asked for."""
        agreement = trial.agreement
        return self._agree is not None and agreement is not None and agreement.share >= self._agree

    def _first_trial(self, engine: Engine, after: int) -> Trial:
        """Time an engine with its defaults, and compare its answers."""
        choice = EngineSettings(engine.name, engine.device, engine.dtype, engine.workers, engine.batch_tokens)
        if not self._reference:
            alone = replace(choice, batch_tokens=1)  # a text at a time
            self._reference = self._answers_within(self._share(after + 2), engine, alone)
        compared = [timed.record for timed in self._sample[: len(self._reference)]]
        found = answers(compared, self._task, engine, choice)
        trial = self._time(engine, choice, after)
        return replace(trial, agreement=agreement(self._reference, found))

    def _answers_within(self, seconds: float, engine: Engine, choice: EngineSettings) -> list[Result]:
        """The answers to the first texts, as many as there is time for, up to `COMPARED`."""
        until = self._clock() + seconds
        found: list[Result] = []
        records = [timed.record for timed in self._sample[:COMPARED]]
        for start in range(0, len(records), COMPARED_AT_ONCE):
            found += answers(records[start : start + COMPARED_AT_ONCE], self._task, engine, choice)
            if self._clock() >= until:
                break
        return found

    def _variations(self, choices: Sequence[EngineSettings], *, after: int) -> Iterator[Trial]:
        for number, choice in enumerate(choices, 1):
            if self._left <= 0:
                return
            trial = self._time(self._engine, choice, after + len(choices) - number)
            trial = replace(trial, agreement=self.best.agreement)
            if _is_faster(trial, self.best):
                self.best = trial
            yield trial

    def _settle(self) -> None:
        """Time the best and the default in turn: the best of many trials may only be the luckiest. Without
        the time for it the default is taken for the best."""
        if self._left <= 0:
            self.best = self.plain = self.default
            return
        best, default = self.best, self.default
        rounds = [
            (
                self._time(self._engine, best.choice, after + 1),
                self._time(self._default_engine, default.choice, after),
            )
            for after in range(2 * ROUNDS - 2, -1, -2)
        ]
        ours, theirs = zip(*rounds, strict=True)
        self.best = replace(_middle(ours), agreement=best.agreement)
        self.default = replace(_middle(theirs), agreement=default.agreement)
        if not _is_faster(self.best, self.default):
            self.best = self.plain = self.default

    @property
    def _left(self) -> float:
        """Seconds until the end."""
        return self._end - self._clock()

    def _share(self, parts: int) -> float:
        """One of so many equal parts of the seconds that are left."""
        return max(0.0, self._left) / parts

    def _time(self, engine: Engine, choice: EngineSettings, after: int) -> Trial:
        """Time a choice, where so many are timed after it."""
        return timed(self._sample, self._task, engine, choice, self._share(after + 1))

    def _fewer_threads(self) -> list[EngineSettings]:
        """Powers of two below what the best has; other devices have one worker each."""
        most = self.best.choice.threads
        fewer = [1 << bits for bits in range(most.bit_length()) if 1 << bits < most]
        return [replace(self.best.choice, threads=threads) for threads in fewer]

    def _other_batches(self) -> list[EngineSettings]:
        size = self.best.choice.batch_tokens
        sizes = [max(1, int(size * factor)) for factor in BATCHES]
        return [replace(self.best.choice, batch_tokens=tokens) for tokens in sizes]


def _is_faster(trial: Trial, other: Trial) -> bool:
    return trial.tokens_per_second > other.tokens_per_second * (1 + NOISE)


def _middle(trials: Sequence[Trial]) -> Trial:
    """The one with the median rate, of an odd number."""
    return sorted(trials, key=lambda trial: trial.tokens_per_second)[len(trials) // 2]

"""Which choices are tried: first engines and dtypes, then numbers of threads, then sizes of batches.

Each time with what was best so far: everything with everything would take an hour and tell little more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bertcli.benchmark.agreement import agreement
from bertcli.benchmark.trial import Choice, Trial, answers, timed
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.benchmark.sample import Timed
    from bertcli.engines import Engine
    from bertcli.options import ComputeDtype, EngineName
    from bertcli.records import Result
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
COARSE = frozenset(["int8"])  # told, and never the best: whether its answers will do is the user's to say

BATCHES = (0.25, 0.5, 2, 4)  # of the engine's own size
COMPARED = 100  # texts
TRIALS = 14  # about how many there are
ROUNDS = 3  # of the best against the default
NOISE = 0.03  # the part by which a choice must be faster than a more ordinary one


class Search:
    """`make` makes an engine of a name and a dtype, or raises EngineError; `seconds` is about how long all
    trials take together, but for the loading of models.

    While `trials` goes on, `default` is what a long run gets without settings, `best` what has served the
    sample best so far, and `plain` the same engine in the same dtype with its own threads and batches. At the
    end the best has been measured against the default in turn, and is the default if it was not faster.
    """

    default: Trial
    plain: Trial
    best: Trial

    def __init__(self, sample: Sequence[Timed], task: Task, make: Make, *, seconds: float) -> None:
        self._sample = sample
        self._task = task
        self._make = make
        self._seconds = seconds / TRIALS
        self._engine: Engine  # of the best
        self._default_engine: Engine
        self._reference: list[Result] = []

    def trials(self) -> Iterator[Trial]:
        """Try choices one after the other. Raises the first EngineError where no engine could be made."""
        yield from self._engines()
        yield from self._variations(self._fewer_threads())
        yield from self._variations(self._other_batches())
        if self.best.choice != self.default.choice:
            self._settle()

    def _engines(self) -> Iterator[Trial]:
        tried: set[tuple[str, str]] = set()
        errors = []
        for name, dtype in ENGINES:
            try:
                engine = self._make(name, dtype)
            except EngineError as error:
                errors.append(error)
                continue
            if (name, engine.dtype) in tried:
                continue
            trial = self._first_trial(engine)
            if not tried:
                self.default = self.best = self.plain = trial
                self._engine = self._default_engine = engine
            if dtype == "auto":
                self.default, self._default_engine = trial, engine
            tried.add((name, engine.dtype))
            yield trial
            if dtype in COARSE:
                continue
            if _is_faster(trial, self.best) or (dtype == "auto" and not _is_faster(self.best, trial)):
                self.best = self.plain = trial
                self._engine = engine
        if not tried:
            raise errors[0]

    def _first_trial(self, engine: Engine) -> Trial:
        """Time an engine as it comes, and compare its answers."""
        choice = Choice(engine.name, engine.device, engine.dtype, engine.workers, engine.pack_tokens)
        compared = [timed.record for timed in self._sample[:COMPARED]]
        if not self._reference:
            alone = replace(choice, batch_tokens=1)  # a text at a time
            self._reference = answers(compared, self._task, engine, alone)
        found = answers(compared, self._task, engine, choice)
        trial = self._time(engine, choice)
        return replace(trial, agreement=agreement(self._reference, found))

    def _variations(self, choices: Iterable[Choice]) -> Iterator[Trial]:
        for choice in choices:
            trial = replace(self._time(self._engine, choice), agreement=self.best.agreement)
            if _is_faster(trial, self.best):
                self.best = trial
            yield trial

    def _settle(self) -> None:
        """Time the best and the default in turn: the best of many trials may only be the luckiest."""
        best, default = self.best, self.default
        rounds = [
            (self._time(self._engine, best.choice), self._time(self._default_engine, default.choice))
            for _ in range(ROUNDS)
        ]
        ours, theirs = zip(*rounds, strict=True)
        self.best = replace(_middle(ours), agreement=best.agreement)
        self.default = replace(_middle(theirs), agreement=default.agreement)
        if not _is_faster(self.best, self.default):
            self.best = self.plain = self.default

    def _time(self, engine: Engine, choice: Choice) -> Trial:
        return timed(self._sample, self._task, engine, choice, self._seconds)

    def _fewer_threads(self) -> list[Choice]:
        """Powers of two below what the best has; other devices have one worker each."""
        most = self.best.choice.threads
        fewer = [1 << bits for bits in range(most.bit_length()) if 1 << bits < most]
        return [replace(self.best.choice, threads=threads) for threads in fewer]

    def _other_batches(self) -> list[Choice]:
        size = self.best.choice.batch_tokens
        sizes = [max(1, int(size * factor)) for factor in BATCHES]
        return [replace(self.best.choice, batch_tokens=tokens) for tokens in sizes]


def _is_faster(trial: Trial, other: Trial) -> bool:
    return trial.tokens_per_second > other.tokens_per_second * (1 + NOISE)


def _middle(trials: Sequence[Trial]) -> Trial:
    """The one with the median rate, of an odd number."""
    return sorted(trials, key=lambda trial: trial.tokens_per_second)[len(trials) // 2]

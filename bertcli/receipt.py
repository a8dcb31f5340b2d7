"""The receipt of a run: how many records were read, with which results, how fast and on which engine."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertcli.console.drawing import duration, grouped, rate
from bertcli.records import ACCEPTED, DECISION_FIELD, REVIEW, Result

if TYPE_CHECKING:
    from bertcli.engines import Engine

COUNTS = ("done", "blank", "failed", "windowed", "truncated", "duplicates")
BETWEEN = "\t"  # the result field and the label of a count


@dataclass
class Usage:
    """What a cluster gave to a run: the most `workers` at once, the `nodes` they were on, and how many batches were
    computed again (`retries`)."""

    workers: int = 0
    nodes: int = 0
    retries: int = 0

    def __str__(self) -> str:
        parts = f"{_counted(self.workers, 'worker')} on {_counted(self.nodes, 'node')}"
        return f"{parts} · {_counted(self.retries, 'retry', 'retries')}" if self.retries else parts


@dataclass
class Receipt:
    """Counts every result and formats the last line of a run.

    read = done + blank + failed. `windowed`, `truncated` and `duplicates` count records that took more than one
    window, lost text, or had a text equal to an earlier one. `before` records were answered by the interrupted run
    that this one resumes. `labels` counts each (result field, label); the caller fills it. `guarantee` is the bound
    that holds for accepted labels, `usage` what a cluster gave. The clock starts with the receipt and stops with
    `finish`.
    """

    engine: str = ""
    device: str = ""
    dtype: str = ""
    calibration: str = ""
    done: int = 0
    blank: int = 0
    failed: int = 0
    windowed: int = 0
    truncated: int = 0
    duplicates: int = 0
    before: int = 0
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    guarantee: str = ""
    usage: Usage | None = None
    interrupted: bool = False
    clock: Callable[[], float] = time.monotonic
    elapsed: float | None = None
    _began: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def ran_on(self, engine: Engine) -> None:
        """Set the engine."""
        self.engine, self.device, self.dtype = engine.name, engine.device, engine.dtype
        self.calibration = getattr(engine, "calibration", "")
        self.usage = getattr(engine, "usage", None)

    def add(self, result: Result) -> None:
        """Count a result that has been written."""
        status = result.status
        self.done += status == "done"
        self.blank += status == "blank"
        self.failed += status == "failed"
        self.windowed += result.windows > 1
        self.truncated += result.truncated
        self.duplicates += result.duplicate

    def counts(self) -> dict[str, int]:
        """All counts by name, for the journal."""
        labels = {f"{field}{BETWEEN}{label}": count for (field, label), count in self.labels.items()}
        return {name: getattr(self, name) for name in COUNTS} | labels

    def resume(self, counts: Mapping[str, int]) -> None:
        """Start from the counts of an interrupted run."""
        for name in COUNTS:
            setattr(self, name, counts.get(name, 0))
        for name, count in counts.items():
            place, between, label = name.partition(BETWEEN)
            if between:
                self.labels[place, label] = count
        self.before = self.read

    def finish(self, *, interrupted: bool = False) -> None:
        """Stop the clock."""
        self.interrupted = interrupted
        self.elapsed = self.clock() - self._began

    @property
    def read(self) -> int:
        """The number of records read."""
        return self.done + self.blank + self.failed

    @property
    def exit_code(self) -> int:
        """130 when the run was interrupted, else 3 when a record failed, else 0."""
        if self.interrupted:
            return 130
        return 3 if self.failed else 0

    def is_due(self, *, on_terminal: bool, verbose: bool) -> bool:
        """Whether the line is printed. One answered text on a terminal, where results go too, needs none, unless
        it failed or `verbose` is set."""
        return verbose or not on_terminal or self.read != 1 or self.exit_code != 0

    def line(self) -> str:
        """`100 read = 96 done + 3 blank + 1 failed · 12 windowed · 8.1 s · 12/s · packed cpu bfloat16`

        Parts that are zero are left out, except `done`, which keeps the sum complete.
        """
        counts = {
            "done": self.done,
            "blank": self.blank,
            "failed": self.failed,
        }
        terms = [f"{grouped(count)} {word}" for word, count in counts.items() if count or word == "done"]
        parts = [f"{grouped(self.read)} read = {' + '.join(terms)}"]
        duplicates = "duplicate" if self.duplicates == 1 else "duplicates"
        notes = {
            "windowed": self.windowed,
            "truncated": self.truncated,
            duplicates: self.duplicates,
            "from before": self.before,
        }
        parts += [f"{grouped(count)} {word}" for word, count in notes.items() if count]
        accepted, review = (self.labels[DECISION_FIELD, decision] for decision in (ACCEPTED, REVIEW))
        if accepted or review:
            bound = f" ({self.guarantee})" if self.guarantee else ""
            parts.append(f"{grouped(accepted)} accepted + {grouped(review)} to review{bound}")
        seconds = self.clock() - self._began if self.elapsed is None else self.elapsed
        parts.append(duration(seconds))
        now = self.read - self.before
        if self.read > 1 and now and seconds > 0:
            parts.append(rate(now / seconds))
        if self.engine:
            calibration = f"({self.calibration})" if self.calibration else ""
            parts.append(" ".join(filter(None, [self.engine, self.device, self.dtype, calibration])))
        if self.usage is not None:
            parts.append(str(self.usage))
        return ("interrupted · " if self.interrupted else "") + " · ".join(parts)


def _counted(count: int, noun: str, plural: str = "") -> str:
    return f"{grouped(count)} {noun if count == 1 else plural or noun + 's'}"

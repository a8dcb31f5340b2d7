"""The account of a run: what was read, what became of it, how fast and on what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bertcli.console.drawing import duration, grouped, rate
from bertcli.records import Result

if TYPE_CHECKING:
    from bertcli.engines import Engine

COUNTS = ("done", "left_out", "blank", "failed", "windowed", "truncated", "duplicates")
BETWEEN = "\t"  # the result field and the label of a count


@dataclass
class Receipt:
    """Is told about every result, and words the last line of a run.

    done + left_out + blank + failed = read, where `left_out` are those that were done but not asked for
    (`score --below`). `windowed`, `truncated` and `duplicates` count records among them that took more than
    one window, lost text, or had a text equal to an earlier one. `before` of those read were answered by an
    interrupted run that this one goes on with. `labels` counts how often each (result field, label) was
    given; whoever runs a task fills it. The clock starts when the receipt is made and stops with
    `finish`.
    """

    engine: str = ""
    device: str = ""
    dtype: str = ""
    done: int = 0
    left_out: int = 0
    blank: int = 0
    failed: int = 0
    windowed: int = 0
    truncated: int = 0
    duplicates: int = 0
    before: int = 0
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    interrupted: bool = False
    clock: Callable[[], float] = time.monotonic
    elapsed: float | None = None
    _began: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._began = self.clock()

    def ran_on(self, engine: Engine) -> None:
        """Which engine it was."""
        self.engine, self.device, self.dtype = engine.name, engine.device, engine.dtype

    def add(self, result: Result, *, kept: bool = True) -> None:
        """Count a result that has been written, or was not to be (`kept` is False)."""
        status = result.status
        self.done += status == "done" and kept
        self.left_out += status == "done" and not kept
        self.blank += status == "blank"
        self.failed += status == "failed"
        self.windowed += result.windows > 1
        self.truncated += result.truncated
        self.duplicates += result.duplicate

    def counts(self) -> dict[str, int]:
        """What is counted, by name."""
        labels = {f"{field}{BETWEEN}{label}": count for (field, label), count in self.labels.items()}
        return {name: getattr(self, name) for name in COUNTS} | labels

    def go_on(self, counts: Mapping[str, int]) -> None:
        """Begin with what an interrupted run has counted."""
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
        """Records answered for, one way or another."""
        return self.done + self.left_out + self.blank + self.failed

    @property
    def exit_code(self) -> int:
        """130 when the run was interrupted, else 3 when a record failed, else 0."""
        if self.interrupted:
            return 130
        return 3 if self.failed else 0

    def is_due(self, *, on_terminal: bool, verbose: bool) -> bool:
        """Whether the line is shown at the end of a run. One text asked and answered on a terminal (where
        results go too) needs no account, unless it failed or with -v."""
        return verbose or not on_terminal or self.read != 1 or self.exit_code != 0

    def line(self) -> str:
        """`100 read = 96 done + 3 blank + 1 failed · 12 windowed · 8.1 s · 12/s · packed cpu bfloat16`

        Parts that are zero are left out, except `done`, which keeps the sum complete.
        """
        counts = {
            "done": self.done,
            "left out": self.left_out,
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
        seconds = self.clock() - self._began if self.elapsed is None else self.elapsed
        parts.append(duration(seconds))
        now = self.read - self.before
        if self.read > 1 and now and seconds > 0:
            parts.append(rate(now / seconds))
        if self.engine:
            parts.append(" ".join(filter(None, [self.engine, self.device, self.dtype])))
        return ("interrupted · " if self.interrupted else "") + " · ".join(parts)

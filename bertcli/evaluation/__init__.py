"""Evaluation: answers compared with right answers. NumPy only.

What is measured comes from the ordinary pipeline, the one that users run; a `Measurement` takes the place of a sink and
keeps of every result only what its figures need. A file a noun:

    labels, tags, answers, masked_words, numbers,
    similarity, rankings      what is collected for one kind of answer
    gold                      what the file says, read from its fields
    classification            counts → precision, recall, F1, confusion
    entities, words           tags → counts, of entities by seqeval's definition, or of each word
    correlation               Pearson, Spearman
    calibration               how far a score is from how often it is right; the temperature that mends it
    suspects                  labels of the file that are likely wrong
    bootstrap                 intervals
    guarantee                 the score above which labels may be taken unseen
    sampling                  which records of a file to check
    report                    all figures of a run
    html                      the report as a page
    comparison                two sets of answers, compared
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bertcli.evaluation.report import Report
    from bertcli.records import Record, Result
    from bertcli.tasks import Task

MOST_FAILURES = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that could not be measured, and why."""

    where: str
    type: str
    message: str


class Measurement(Protocol):
    """A sink that measures. `task` makes the answers it wants; `failures` are the first records without one,
    which have no output line to be seen in."""

    failures: list[Failure]

    @property
    def task(self) -> Task: ...

    def write(self, result: Result) -> None: ...

    def flush(self) -> None: ...

    def close(self, complete: bool) -> None: ...

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records on their way to the task; one without a readable gold answer gets a `problem`."""
        ...

    def report(self) -> Report:
        """The figures. Called once, when at least one record is done."""
        ...


class Collector:
    """What all measurements have in common: `keep` gets the results that are done."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def write(self, result: Result) -> None:
        if result.status == "done":
            self.keep(result)
        elif result.problem is not None and len(self.failures) < MOST_FAILURES:
            self.failures.append(Failure(result.record.where, result.problem.type, result.problem.message))

    def keep(self, result: Result) -> None:
        """Keep what the figures need."""
        raise NotImplementedError

    def flush(self) -> None:
        """Nothing waits."""

    def close(self, complete: bool) -> None:
        """Nothing is open."""

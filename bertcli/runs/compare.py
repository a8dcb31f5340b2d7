"""What `compare` does: two files row by row, or two models one after the other, into one report."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from bertcli import console
from bertcli.errors import InputError, UsageError
from bertcli.reports.comparison import comparison_page
from bertcli.reports.lines import show
from bertcli.requests import Embed, Fill, Label, Tag, options_of
from bertcli.runs.flow import run_into
from bertcli.runs.preflight import open_model
from bertcli.runs.tasks import make_task
from bertcli.sinks import Silent

if TYPE_CHECKING:
    from bertcli.evaluation.comparison import Answered, Comparison
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Result
    from bertcli.requests import InputOptions, LongOptions, ModelOptions, RunOptions, StreamRequest
    from bertcli.sinks import Sink
    from bertcli.tasks import Task


@dataclass(frozen=True, slots=True)
class Limits:
    """What may change: so many flips, such a share of the records, such a drift; None: any."""

    flips: int | None
    share: float | None
    drift: float | None

    def refuse_unjudged(self, comparison: Comparison) -> None:
        """Raise InputError where a limit has nothing to judge: a check that looked at nothing must not pass."""
        if comparison.failed == comparison.records:
            raise InputError(
                "nothing could be compared: every record failed on both sides",
                hint="`error` in the records says why",
            )
        if (self.flips is not None or self.share is not None) and not comparison.flippable:
            raise InputError(
                "--max-flips has nothing to judge: no record has a label, spans, words or another answer",
                hint="compare outputs that hold some, or set --max-drift for scores and embeddings",
            )
        if self.drift is not None and not comparison.drifts:
            raise InputError(
                "--max-drift has nothing to judge: no record has a number or an embedding on both sides",
                hint="compare outputs that hold scores or embeddings, or set --max-flips",
            )

    def kept(self, comparison: Comparison) -> bool:
        allowed = self.flips if self.share is None else self.share * comparison.records
        if allowed is not None and comparison.flipped > allowed:
            return False
        return self.drift is None or comparison.largest_drift <= self.drift


@dataclass(frozen=True, slots=True)
class Models:
    """Two models, and what they are to do."""

    names: tuple[str, str]
    task: str
    head: str | None
    inputs: InputOptions
    model: ModelOptions
    long: LongOptions
    run: RunOptions


def compare_files(inputs: InputOptions, run: RunOptions, limits: Limits, *, worst: int, as_json: bool) -> int:
    """Compare two files of answers and return the exit code."""
    _configure(run)
    from bertcli.evaluation.comparison import Comparison, paired

    comparison = Comparison(worst)
    a, b = inputs.files
    with closing(_rows(a, inputs)) as one, closing(_rows(b, inputs)) as other:
        for rows in paired(one, other, (a, b)):
            comparison.add(*rows)
    return _description(comparison, limits, (a, b), as_json=as_json)


def compare_models(request: Models, limits: Limits, *, worst: int, as_json: bool) -> int:
    """Run two models on the same records, compare their answers and return the exit code."""
    _configure(request.run)
    from bertcli.evaluation.comparison import Comparison

    comparison = Comparison(worst)
    one, other = [_opened(request, name) for name in request.names]  # a name that is wrong is told at once
    with tempfile.TemporaryFile() as file:
        _answer(request, *one, Keeping(file))
        file.seek(0)
        _answer(request, *other, Against(file, comparison))
    return _description(comparison, limits, request.names, as_json=as_json)


def _configure(run: RunOptions) -> None:
    console.configure(quiet=run.quiet, verbose=run.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=run.verbose)


def _rows(path: str, inputs: InputOptions) -> Generator[Answered]:
    """The rows of an output file. Raises InputError for one that cannot be read."""
    from bertcli.evaluation.comparison import Answered
    from bertcli.sources.rows import read_rows

    stop = None if inputs.limit is None else inputs.skip + inputs.limit
    rows = read_rows(path, replace(inputs, files=(path,)))
    for where, fields, problem in islice(rows, inputs.skip, stop):
        if problem is not None:
            raise InputError(problem.message, where=where)
        yield Answered(where, fields)


# Two models


def _opened(request: Models, name: str) -> tuple[Checkpoint, Task]:
    """One of the models, and what it does."""
    model = open_model(replace(request.model, model=name))
    return model.checkpoint, make_task(_request(request), model)


def _answer(request: Models, checkpoint: Checkpoint, task: Task, sink: Sink) -> None:
    """Run one of the models into a sink."""
    from bertcli.receipt import Receipt
    from bertcli.sources import open_source

    receipt = Receipt()
    with closing(open_source(request.inputs)) as source:
        if source.live:
            raise UsageError("--models reads its input twice, which no pipe allows", hint="name files")
        run_into(sink, source, checkpoint, task, receipt, request.model, max_errors=request.run.max_errors)
    receipt.finish()
    console.say(f"{checkpoint.name}: {receipt.line()}")


def _request(request: Models) -> StreamRequest:
    """What the models are asked."""
    shared = options_of(request.inputs, request.model, request.long)
    match request.task:
        case "label":
            return Label(**shared, head=request.head)
        case "embed":
            return Embed(**shared)
        case "tag":
            return Tag(**shared, head=request.head)
    return Fill(**shared, k=1)


@dataclass(frozen=True, slots=True)
class Keeping(Silent):
    """A sink that sets down the answers of one model."""

    file: IO[bytes]

    def write(self, result: Result) -> None:
        pickle.dump(_answers(result), self.file, pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True, slots=True)
class Against(Silent):
    """A sink that holds the answers of the other model against those set down."""

    file: IO[bytes]
    comparison: Comparison

    def write(self, result: Result) -> None:
        from bertcli.evaluation.comparison import Answered

        shown = {"text": result.record.text}
        where = result.record.where
        self.comparison.add(
            Answered(where, shown | pickle.load(self.file)), Answered(where, shown | _answers(result))
        )


def _answers(result: Result) -> dict[str, Any]:
    """The result fields alone: an input field may have the name of one."""
    return dict(replace(result, record=replace(result.record, fields={})).row())


# The report


def _description(comparison: Comparison, limits: Limits, names: tuple[str, str], *, as_json: bool) -> int:
    if not comparison.records:
        raise InputError("there is no record to compare", hint="the inputs are empty")
    limits.refuse_unjudged(comparison)
    kept = limits.kept(comparison)
    report = {"a": names[0], "b": names[1], **comparison.figures(), "kept": kept}
    show([report], "jsonl" if as_json else "table", lambda: comparison_page(comparison, names, kept))
    return 0 if kept else 1

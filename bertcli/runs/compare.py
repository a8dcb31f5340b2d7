"""What `compare` does: two files row by row, or two models one after the other."""

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
from bertcli.requests import (
    Embed,
    Fill,
    InputOptions,
    Label,
    LongOptions,
    ModelOptions,
    Tag,
    fields_of,
)
from bertcli.runs.flow import run_into
from bertcli.runs.preflight import open_model, refuse_pairs
from bertcli.runs.tasks import make_task
from bertcli.sinks import Silent

if TYPE_CHECKING:
    from bertcli.evaluation.comparison import Answered, Comparison
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Result
    from bertcli.requests import Compare, StreamRequest
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
class Outcome:
    """What differs between two sets of answers, called `names`; `kept`: no more than the request allows."""

    names: tuple[str, str]
    comparison: Comparison
    kept: bool

    def row(self) -> dict[str, Any]:
        return {"a": self.names[0], "b": self.names[1], **self.comparison.figures(), "kept": self.kept}


def compare(request: Compare) -> Outcome:
    """Compare two files of answers, or the answers of two models. Raises BertcliError for what cannot be compared."""
    from bertcli.evaluation.comparison import Comparison

    limits = Limits(*_flips(request.max_flips), request.max_drift)
    comparison = Comparison(request.worst)
    names = request.models or _two_files(request)
    if request.models is None:
        _compare_files(request, names, comparison)
    else:
        _compare_models(request, names, comparison)
    if not comparison.records:
        raise InputError("there is no record to compare", hint="the inputs are empty")
    limits.refuse_unjudged(comparison)
    return Outcome(names, comparison, limits.kept(comparison))


def _flips(value: str | None) -> tuple[int | None, float | None]:
    """`max_flips` as a number, or as a share of the records. Raises UsageError for neither."""
    if value is None:
        return None, None
    try:
        if value.endswith("%"):
            share = float(value[:-1]) / 100
            if 0 <= share <= 1:
                return None, share
        elif int(value) >= 0:
            return int(value), None
    except ValueError:
        pass  # refused below
    raise UsageError(f"--max-flips {value} is neither a number nor a share", hint="as in 10 or 0.5%")


def _two_files(request: Compare) -> tuple[str, str]:
    if len(request.files) != 2 or request.texts:
        given = len(request.files) + len(request.texts)
        raise UsageError(f"two files are compared, not {given}", hint="bertcli compare A.jsonl B.jsonl")
    return request.files[0], request.files[1]


def _compare_files(request: Compare, paths: tuple[str, str], comparison: Comparison) -> None:
    from bertcli.evaluation.comparison import paired

    a, b = paths
    with closing(_rows(a, request)) as one, closing(_rows(b, request)) as other:
        for rows in paired(one, other, paths):
            comparison.add(*rows)


def _rows(path: str, request: Compare) -> Generator[Answered]:
    """The rows of an output file. Raises InputError for one that cannot be read."""
    from bertcli.evaluation.comparison import Answered
    from bertcli.sources.rows import read_rows

    stop = None if request.limit is None else request.skip + request.limit
    rows = read_rows(path, replace(request, files=(path,)))
    for where, fields, problem in islice(rows, request.skip, stop):
        if problem is not None:
            raise InputError(problem.message, where=where)
        yield Answered(where, fields)


# Two models


def _compare_models(request: Compare, names: tuple[str, str], comparison: Comparison) -> None:
    """Run two models on the same records, and compare their answers."""
    if request.task != "label":
        refuse_pairs(request.pair_field, f"`{request.task}`")
    if not (request.files or request.texts) or "-" in request.files:
        raise UsageError("--models reads its input twice, which no pipe allows", hint="name files")
    one, other = [_opened(request, name) for name in names]  # a wrong name is refused at once
    with tempfile.TemporaryFile() as file:
        _answer(request, *one, AnswerWriter(file))
        file.seek(0)
        _answer(request, *other, AnswerComparer(file, comparison))


def _opened(request: Compare, name: str) -> tuple[Checkpoint, Task]:
    """One of the models, and its task."""
    model = open_model(replace(request, model=name))
    return model.checkpoint, make_task(_task_request(request), model)


def _task_request(request: Compare) -> StreamRequest:
    """The request of the task that both models do."""
    shared = fields_of(request, InputOptions, ModelOptions, LongOptions)
    match request.task:
        case "label":
            return Label(**shared, head=request.head)
        case "embed":
            return Embed(**shared)
        case "tag":
            return Tag(**shared, head=request.head)
    return Fill(**shared, k=1)


def _answer(request: Compare, checkpoint: Checkpoint, task: Task, sink: Sink) -> None:
    """Run one of the models into a sink."""
    from bertcli.receipt import Receipt
    from bertcli.sources import open_source

    receipt = Receipt()
    with closing(open_source(request)) as source:
        if source.live:
            raise UsageError("--models reads its input twice, which no pipe allows", hint="name files")
        run_into(sink, source, checkpoint, task, receipt, request, max_errors=request.max_errors)
    receipt.finish()
    console.say(f"{checkpoint.name}: {receipt.line()}")


@dataclass(frozen=True, slots=True)
class AnswerWriter(Silent):
    """A sink that writes the answers of one model to a temporary file."""

    file: IO[bytes]

    def write(self, result: Result) -> None:
        pickle.dump(_answers(result), self.file, pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True, slots=True)
class AnswerComparer(Silent):
    """A sink that compares the answers of the other model with those of the file."""

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

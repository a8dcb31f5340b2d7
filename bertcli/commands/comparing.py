"""What `compare` does: two files row by row, or two models one after the other, into one report."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from bertcli import console
from bertcli.commands.carrying import carry
from bertcli.commands.labelling import Labelling
from bertcli.commands.showing import Line, show
from bertcli.commands.streaming import choose_head, refuse_or_warn
from bertcli.console.drawing import BOLD, CYAN, DIM, RED, grouped
from bertcli.errors import InputError, UsageError
from bertcli.sinks import Silent

if TYPE_CHECKING:
    from bertcli.evaluation.comparison import Answered, Change, Comparison
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Result
    from bertcli.requests import InputOptions, LongOptions, ModelOptions, RunOptions
    from bertcli.sinks import Sink
    from bertcli.tasks import Task

TEXT_CELLS = 76
NAME_CELLS = 24


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
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve
    from bertcli.models.tokenizer import Tokenizer

    checkpoint = open_checkpoint(resolve(name), allow_pickle=request.model.allow_pickle)
    return checkpoint, _task(request, checkpoint, Tokenizer.of(checkpoint))


def _answer(request: Models, checkpoint: Checkpoint, task: Task, sink: Sink) -> None:
    """Run one of the models into a sink."""
    from bertcli.receipt import Receipt
    from bertcli.sources import open_source

    receipt = Receipt()
    with closing(open_source(request.inputs)) as source:
        if source.live:
            raise UsageError("--models reads its input twice, which no pipe allows", hint="name files")
        carry(
            source,
            checkpoint,
            task,
            sink,
            receipt,
            model=request.model,
            run=request.run,
        )
    receipt.finish()
    console.say(f"{checkpoint.name}: {receipt.line()}")


def _task(request: Models, checkpoint: Checkpoint, tokenizer: Tokenizer) -> Task:
    """What the models do, by its name."""
    unsafe, long = request.model.unsafe_model, request.long
    if request.task == "label":
        labelling = Labelling(
            head=request.head, long=long, unsafe=unsafe, pair_field=request.inputs.pair_field
        )
        return labelling.task(checkpoint, tokenizer)
    if request.task == "embed":
        from bertcli.tasks.embed import Embed

        refuse_or_warn(checkpoint, "embed", unsafe=unsafe)
        return Embed(checkpoint, tokenizer, long)
    if request.task == "tag":
        from bertcli.tasks.tag import Tag

        head = choose_head(checkpoint, "tag", request.head)
        refuse_or_warn(checkpoint, "tag", unsafe=unsafe, head=head)
        return Tag(checkpoint, tokenizer, head, long)
    from bertcli.tasks.fill import Fill

    head = choose_head(checkpoint, "fill", request.head)
    refuse_or_warn(checkpoint, "fill", unsafe=unsafe, head=head)
    return Fill(checkpoint, tokenizer, head, long, top=1)


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
    show([report], "jsonl" if as_json else "table", lambda: _page(comparison, names, kept))
    return 0 if kept else 1


def _page(comparison: Comparison, names: tuple[str, str], kept: bool) -> Iterator[Line]:
    """The report as a person reads it."""
    figures = comparison.figures()
    yield [("a  ", DIM), (names[0], CYAN)]
    yield [("b  ", DIM), (names[1], CYAN)]
    counts = f"{grouped(comparison.records)} records"
    yield [(counts + (f" · {grouped(comparison.failed)} failed on both" if comparison.failed else ""), DIM)]
    yield []
    share = comparison.flipped / comparison.records
    yield [("flipped   ", ""), (f"{grouped(comparison.flipped):>8}", BOLD), (f"   {share:.2%}", DIM)]
    if comparison.flips.keys() - {"label"}:
        for name, count in comparison.flips.most_common():
            yield [(f"  {_cut(name, NAME_CELLS)} {grouped(count)}", DIM)]
    if figures["drift"]:
        drifts = {drift_name(name): spread for name, spread in figures["drift"].items()}
        cells = max(map(len, drifts))
        yield []
        yield [(f"{'':{cells}}  {'mean':>8}  {'p99':>8}  {'max':>8}", DIM)]
        for name, spread in drifts.items():
            numbers = "".join(f"  {spread[one]:8.4f}" for one in ("mean", "p99", "max"))
            yield [(f"{name:{cells}}", ""), (numbers, "")]
    if comparison.worst:
        yield []
        yield [("what changed most", DIM)]
        for change in comparison.worst:
            yield from _change(change)
    if not kept:
        yield []
        yield [("more than is allowed", RED)]


def _change(change: Change) -> Iterator[Line]:
    line: Line = [(change.row.where, CYAN)]
    for name, (a, b) in change.flips.items():
        line += [(f"  {name} ", DIM), (_spelled(a), ""), (" → ", DIM), (_spelled(b), BOLD)]
    for name, drift in change.drifts.items():
        line += [(f"  {drift_name(name)} ", DIM), (f"{drift:.4f}", "")]
    yield line
    text = next((value for value in change.row.inputs().values() if isinstance(value, str)), "")
    yield [("  " + _cut(" ".join(text.split()), TEXT_CELLS), "")]


def drift_name(field: str) -> str:
    """What the drift of a field is: of a vector by its angle, of a number by its size."""
    from bertcli.evaluation.comparison import VECTORS

    return f"{field} 1 - cos" if field.rpartition("_")[2] in VECTORS else f"{field} ±"


def _spelled(answer: Any) -> str:
    if answer is None:
        return "-"
    if isinstance(answer, list):
        parts = [" ".join(map(str, part)) if isinstance(part, list) else str(part) for part in answer]
        return _cut(", ".join(parts) or "-", TEXT_CELLS // 2)
    return _cut(str(answer), NAME_CELLS)


def _cut(text: str, cells: int) -> str:
    return text if len(text) <= cells else text[: cells - 1] + "…"

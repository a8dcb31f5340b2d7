"""The parts of a run between an open source and a sink: the feed, the choice of the engine, counting; and
`run_into`, a run whose results are not shown as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from bertcli import console
from bertcli.errors import RecordError, UsageError
from bertcli.feed import END, Feed, LiveFeed, PromptFeed, characters
from bertcli.runs.calibration import sample_of
from bertcli.runs.label_counts import given
from bertcli.runs.translate import is_encoder_decoder, seq2seq_attention_engine

if TYPE_CHECKING:
    from bertcli import pipeline
    from bertcli.console.progress import Bar
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.planning import Plan
    from bertcli.receipt import Receipt
    from bertcli.records import Record, Result
    from bertcli.requests import ClusterOptions, ComputeDtype, ModelOptions
    from bertcli.runs.own_engine import OwnEngine
    from bertcli.sinks import Sink
    from bertcli.sources import Source
    from bertcli.tasks import Task
    from bertcli.tasks.choice import Choice

PATIENCE = 0.3  # seconds to find out whether a pipe holds little (`echo …`) or may go on for ever (`tail -f`)
CHARACTERS_PER_TOKEN = 4  # of English in word pieces, about


@runtime_checkable
class Closable(Protocol):
    def close(self) -> None: ...


def feed_of(source: Source, records: Iterable[Record] | None = None, *, patience: float = 0.0) -> Feed:
    """What hands out the records of a source, or `records` that come from it. `patience` is how many seconds
    of silence make a pause."""
    records = source if records is None else records
    if source.prompt:
        return PromptFeed(records)
    return LiveFeed(records, patience=patience) if source.live else Feed(records)


def choose_engine(
    options: ModelOptions,
    checkpoint: Checkpoint,
    feed: Feed,
    weigh: Callable[[Record], int] = characters,
    *,
    task: Task | None = None,
    sample: Sequence[Record] | None = None,
    cluster: ClusterOptions | None = None,
) -> Engine:
    """The engine that the options ask for, else the one for as much input as there is. `weigh` says how much
    work a record is, in characters. int8 is calibrated for the task, on `sample` or on what `sample_of` finds. Where a
    `cluster` is asked for, its workers compute; the engine is then to be closed."""
    from bertcli.engines.choosing import choose, engine_name
    from bertcli.engines.finite import Finite

    tokens = tokens_ahead(options, feed, weigh)
    engine: Engine
    if cluster is not None and cluster.on is not None:
        from bertcli.distributed.cluster import open_remote_engine

        options = replace(options, engine=engine_name(checkpoint, options, tokens_ahead=tokens))
        engine = open_remote_engine(checkpoint, getattr(task, "head", None), options, cluster)
    elif options.dtype == "int8":
        if task is None:
            raise UsageError("int8 is calibrated on texts, and there are queries alone", hint="use bfloat16")
        return _calibrated(options, checkpoint, task, sample_of(options, feed) if sample is None else sample)
    else:
        engine = choose(checkpoint, options, tokens_ahead=tokens)
    note_engine(engine, tokens)
    return Finite(engine)


def open_own_engine(
    own: OwnEngine,
    options: ModelOptions,
    checkpoint: Checkpoint,
    feed: Feed,
    task: Task,
    cluster: ClusterOptions | None = None,
) -> Engine:
    """The engine that only this task has, for as much input as there is."""
    tokens = tokens_ahead(options, feed)
    name = own.choose(checkpoint, options, task, tokens)
    engine = own.open(checkpoint, replace(options, engine=name), cluster)
    note_engine(engine, tokens)
    return engine


def tokens_ahead(
    options: ModelOptions, feed: Feed, weigh: Callable[[Record], int] = characters
) -> int | None:
    """About how many tokens the input has; None for many or an unknown number, and where `--engine` decides."""
    from bertcli.engines.choosing import BREAK_EVEN_TOKENS

    if options.engine != "auto":
        return None
    amount = feed.measure(BREAK_EVEN_TOKENS * CHARACTERS_PER_TOKEN, PATIENCE, weigh)
    return None if amount is None else -(-amount // CHARACTERS_PER_TOKEN)


def note_engine(engine: Engine, tokens: int | None) -> None:
    """Say with --verbose which engine runs, and for how much."""
    size = "an input of unknown or large size" if tokens is None else f"some {tokens} tokens"
    console.note(f"{engine.name} engine on {engine.device} in {engine.dtype}, for {size}")


def _calibrated(
    options: ModelOptions, checkpoint: Checkpoint, task: Task, sample: Sequence[Record]
) -> Engine:
    """The engine in int8, with a report of what that changes."""
    from bertcli.engines.choosing import choose
    from bertcli.engines.finite import Finite
    from bertcli.runs.calibration import calibrate, report

    calibration = calibrate(checkpoint, options, task, sample)
    report(calibration)
    engine = choose(checkpoint, options, tokens_ahead=None, roundings=calibration.roundings)
    return Finite(engine, calibration=calibration.digest)


@contextmanager
def closing_engine(engine: Engine) -> Iterator[None]:
    """Close an engine that has something outside this process at the end."""
    try:
        yield
    finally:
        if isinstance(engine, Closable):
            engine.close()


def refuse_cluster(cluster: ClusterOptions, task: str) -> None:
    """Raise UsageError where a task that no worker computes is to run on a cluster."""
    if cluster.on is not None:
        raise UsageError(
            f"--on: `{task}` is computed in this process alone", hint="leave --on out, or use --shard"
        )


def for_task(options: ModelOptions, checkpoint: Checkpoint, task: Task) -> tuple[ModelOptions, Checkpoint]:
    """What the engine of a task is opened with: the encoder as the head of the task reads it, and for `--dtype auto`
    float32 for a regression, whose answers lose digits when the encoder computes in bfloat16, or the dtype of the
    guarantee of accepted labels. Raises UsageError for a dtype other than that."""
    guaranteed: str | None = getattr(task, "dtype", None)
    if guaranteed is not None:
        if options.dtype not in ("auto", guaranteed):
            raise UsageError(
                f"--dtype {options.dtype}: the guarantee is for scores in {guaranteed}",
                hint=f"leave --dtype out, or find a guarantee with `evaluate label --dtype {options.dtype}`",
            )
        options = replace(options, dtype=cast("ComputeDtype", guaranteed))
    head = getattr(task, "head", None)
    if head is None:
        return options, checkpoint
    if options.dtype == "auto" and head.problem == "regression":
        options = replace(options, dtype="float32")
    return options, checkpoint.for_head(head)


def attention_engine(options: ModelOptions, checkpoint: Checkpoint) -> Engine:
    """The engine for a task that asks for attention weights. Raises UsageError for one that an encoder-decoder does not
    have."""
    if is_encoder_decoder(checkpoint):
        return seq2seq_attention_engine(checkpoint, options)
    from bertcli.engines.choosing import choose_for_attention
    from bertcli.engines.finite import Finite

    return Finite(choose_for_attention(checkpoint, options))


def planned_workers(engine: Engine) -> int:
    """How many workers batches are made for. Where a batch decides how its answers are rounded, a cluster gets the
    batches that this machine would make for itself, so that the results are the same."""
    here: int = getattr(engine, "workers_here", engine.workers)
    return engine.workers if engine.batch_invariant else here


def plan_for(engine: Engine, **settings: Any) -> Plan:
    """The plan for an engine, with other `settings` of it."""
    from bertcli.planning import Plan

    return Plan(engine.batch_tokens, planned_workers(engine), **settings)


def work_of(task: Task) -> Callable[[Record], int]:
    """How many characters a record is worth in work, for a task that reads each text many times, each time with
    another word masked."""

    def weigh(record: Record) -> int:
        if record.blank or record.problem is not None:
            return 0
        try:
            windows = task.encode(record).windows
        except RecordError:
            return 0
        return CHARACTERS_PER_TOKEN * sum(map(len, windows))

    return weigh


def warn_of_shortage(most_tokens: int) -> None:
    """Say that memory ran out and how the run goes on."""
    console.warn(
        f"memory ran out; from here on at most {most_tokens} tokens run together"
        f" (--batch-tokens {most_tokens} begins that way)"
    )


@dataclass(slots=True)
class Counter:
    """Counts for the receipt, and shows the count on the bar. `choice` is the task's, where it has one."""

    receipt: Receipt
    bar: Bar
    choice: Choice | None = None

    @property
    def failed(self) -> int:
        return self.receipt.failed

    def add(self, result: Result) -> None:
        self.receipt.add(result)
        for label in given(result, self.choice):
            self.receipt.labels[label] += 1
        self.expect(0)

    def expect(self, more: int) -> None:
        self.bar.show(self.receipt.read - self.receipt.before + more)


def run_into(
    sink: Sink,
    source: Source,
    checkpoint: Checkpoint,
    task: Task,
    receipt: Receipt,
    options: ModelOptions,
    *,
    max_errors: int | None,
    counting: Callable[[Receipt, Bar], pipeline.ResultCounter] = Counter,
    records: Iterable[Record] | None = None,
    weigh: Callable[[Record], int] = characters,
    own_engine: OwnEngine | None = None,
    progress: pipeline.ProgressLog | None = None,
    cluster: ClusterOptions | None = None,
    measured: Feed | None = None,
) -> None:
    """Run all records of `source`, or `records` that come from it, through the task into a sink that ranks,
    measures or compares. `counting` makes what counts each result; `weigh` says how much work a record is, in
    characters; `own_engine` is for a task with an engine of its own; `progress` notes the
    end of each block; `cluster` says where batches are computed. The engine is for as much input as
    `measured` has, where that is another."""
    from bertcli.pipeline import run

    feed = feed_of(source, records)
    options, checkpoint = for_task(options, checkpoint, task)
    measured = measured or feed
    engine = (
        open_own_engine(own_engine, options, checkpoint, measured, task, cluster)
        if own_engine
        else choose_engine(options, checkpoint, measured, weigh, task=task, cluster=cluster)
    )
    with closing_engine(engine), console.progress(source, None, lambda: feed.taken) as bar:
        receipt.ran_on(engine)
        task.prepare(engine)
        if feed.first() is not END:
            console.release()
        run(
            feed,
            task=task,
            engine=engine,
            plan=plan_for(engine),
            sink=sink,
            receipt=counting(receipt, bar),
            max_errors=max_errors,
            on_shortage=warn_of_shortage,
            progress=progress,
        )

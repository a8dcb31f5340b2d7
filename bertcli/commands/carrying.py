"""A run of the pipeline whose results are not shown as they come: a sink ranks or compares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from bertcli import console
from bertcli.commands.streaming import Counter, engine_for, feed_of, warn_of_shortage
from bertcli.feed import END, characters

if TYPE_CHECKING:
    from bertcli import pipeline
    from bertcli.console.progress import Bar
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.receipt import Receipt
    from bertcli.records import Record
    from bertcli.requests import ModelOptions, RunOptions
    from bertcli.sinks import Sink
    from bertcli.sources import Source
    from bertcli.tasks import Task


def carry(
    source: Source,
    checkpoint: Checkpoint,
    task: Task,
    sink: Sink,
    receipt: Receipt,
    *,
    model: ModelOptions,
    run: RunOptions,
    counting: Callable[[Receipt, Bar], pipeline.ResultCounter] = Counter,
    records: Iterable[Record] | None = None,
    weigh: Callable[[Record], int] = characters,
    open_engine: Callable[[Checkpoint, ModelOptions], Engine] | None = None,
) -> None:
    """Carry all records of `source`, or `records` that come from it, through the task to the sink.

    `counting` makes what is told of each result; `weigh` says how much work a record is, in characters. `open_engine`
    opens an engine that only this task has.
    """
    from bertcli.pipeline import run as run_pipeline
    from bertcli.planning import Plan

    feed = feed_of(source, records)
    engine = open_engine(checkpoint, model) if open_engine else engine_for(model, checkpoint, feed, weigh)
    receipt.ran_on(engine)
    task.prepare(engine)
    if feed.first() is not END:
        console.release()
    with console.progress(source, None, lambda: feed.taken) as bar:
        run_pipeline(
            feed,
            task=task,
            engine=engine,
            plan=Plan(engine.batch_tokens, engine.workers),
            sink=sink,
            receipt=counting(receipt, bar),
            max_errors=run.max_errors,
            on_shortage=warn_of_shortage,
        )

"""A run of the pipeline whose results are not shown as they come: a sink ranks or compares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bertcli import console
from bertcli.commands.streaming import engine_for, feed_of, warn_of_shortage

if TYPE_CHECKING:
    from bertcli.console.progress import Bar
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.options import ModelOptions, RunOptions
    from bertcli.pipeline import Counter
    from bertcli.receipt import Receipt
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
    counting: Callable[[Receipt, Bar], Counter],
) -> None:
    """Carry all records of `source` through the task to the sink. `counting` makes what is told of each."""
    from bertcli import pipeline
    from bertcli.planning import Plan

    feed = feed_of(source)
    engine = engine_for(model, checkpoint, feed)
    receipt.engine, receipt.device, receipt.dtype = engine.name, engine.device, engine.dtype
    task.prepare(engine)
    with console.progress(source, None, lambda: feed.taken) as bar:
        pipeline.run(
            feed,
            task=task,
            engine=engine,
            plan=Plan(engine.pack_tokens, engine.workers),
            sink=sink,
            receipt=counting(receipt, bar),
            max_errors=run.max_errors,
            on_shortage=warn_of_shortage,
        )

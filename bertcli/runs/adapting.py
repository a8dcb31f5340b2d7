"""`label --adapt`: the texts of the input are embedded once before the run, to move the labels towards them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bertcli import console
from bertcli.console.drawing import grouped
from bertcli.errors import UsageError
from bertcli.feed import Feed

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.records import Record
    from bertcli.tasks import Task

MOST_TEXTS = 20_000
"""Texts that labels are moved towards: the first of the input."""


def adapt_labels(task: Task, records: Iterable[Record], engine: Engine) -> None:
    """Move the labels of a task towards the texts of `records`. Raises UsageError for a task that compares no
    vectors."""
    from bertcli import pipeline
    from bertcli.planning import Plan
    from bertcli.tasks.zero_shot import ByNearness, UnitVectors

    nearness = getattr(task, "nearness", task)
    if not isinstance(nearness, ByNearness):
        raise UsageError(
            "--adapt moves labels among embeddings, and this model judges each text with each label",
            hint="leave out --adapt, or use a model made for sentence embeddings",
        )
    feed = Feed(itertools.islice(records, MOST_TEXTS))
    plan = Plan(engine.batch_tokens, engine.workers)
    results = pipeline.results(feed, task=UnitVectors(nearness), engine=engine, plan=plan)
    vectors = [result.values["vector"] for result in results if result.status == "done"]
    if vectors:
        nearness.adapt(vectors)
    console.note(f"labels adapted to {grouped(len(vectors))} texts")

"""Reranking: the relevance of each text to a query, of all texts of a run or of the best texts of a search."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from bertcli import console
from bertcli.console.drawing import grouped
from bertcli.errors import UsageError
from bertcli.feed import Feed
from bertcli.requests import Rerank
from bertcli.runs.flow import choose_engine, for_task, run_into
from bertcli.runs.hits import (
    FailureReporter,
    closing_receipt,
    open_hits,
    say_if_nothing_found,
    warn_of_further_failures,
)
from bertcli.runs.preflight import open_model
from bertcli.runs.tasks import make_task

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.receipt import Receipt
    from bertcli.records import Record
    from bertcli.requests import LongOptions, ModelOptions

HIT_FIELDS = ("rank", "score", "where")
VERB = "reranked"


def run_rerank(request: Rerank, stdout: BinaryIO) -> Receipt:
    """Write the best texts for the query, or for each query of the input, and return the receipt. The best are kept
    while the texts stream by. Raises as `runs.run.run` does."""
    from bertcli.distributed.shards import check_shard_options, shard_of_queries, write_shard_receipt
    from bertcli.receipt import Receipt
    from bertcli.runs.resume import facts_of
    from bertcli.search.sinks import GroupRanking
    from bertcli.sinks import Layout
    from bertcli.sources import open_source

    if request.query is not None and request.pair_field is not None:
        request = replace(
            request, files=(request.query, *request.files), query=None
        )  # all arguments are files
    receipt = Receipt()
    shard = None
    if request.shard is not None:
        check_shard_options(request, request)
        shard = shard_of_queries(request)
    with closing(shard.open() if shard else open_source(request)) as source, closing_receipt(receipt):
        if source.prompt:
            raise UsageError("there is nothing to rerank", hint="name files, or pipe text in")
        if request.query is not None and not request.files and os.path.isfile(request.query):
            console.warn(f"{request.query} is a file, and taken as the query; the texts come from stdin")
        layout = Layout(
            task="rerank",
            inputs=source.field_names,
            results=HIT_FIELDS,
            extras=("windows", "truncated"),
            text_field=source.text_field,
            id_field=request.id_field,
            prefix=request.prefix,
            is_shard=shard is not None,
            formats=request.formats,
            view="hits",
        )
        files = request.files or (() if request.texts else ("-",))
        with open_hits(request, layout, stdout, files) as sink:
            model = open_model(request)
            ranking = GroupRanking(sink, most=None if request.all else request.k)
            with closing(open_source(shard.whole)) if shard else nullcontext() as whole:
                run_into(
                    ranking,
                    source,
                    model.checkpoint,
                    make_task(request, model),
                    receipt,
                    request,
                    max_errors=request.max_errors,
                    counting=partial(FailureReporter, verb=VERB),
                    cluster=request,
                    measured=None if whole is None else Feed(whole),
                )
            ranking.close(True)
            say_if_nothing_found(ranking.written)
        warn_of_further_failures(receipt, VERB)
    if shard is not None and not receipt.interrupted:
        facts = facts_of(request, "rerank", model.checkpoint) | {"engine": _engine_of(receipt)}
        write_shard_receipt(shard, request, facts, layout, receipt)
    return receipt


def _engine_of(receipt: Receipt) -> dict[str, str]:
    return {name: getattr(receipt, name) for name in ("device", "dtype", "calibration")} | {
        "name": receipt.engine
    }


class Reranker:
    """A cross-encoder that orders what a search has found. Opening it raises ModelError for a model that cannot.

    `long` says how long texts are handled; the length of the windows is the cross-encoder's own.
    """

    def __init__(self, model: ModelOptions, long: LongOptions) -> None:
        opened = open_model(model)
        self._task = make_task(Rerank(pair_field="query", long=long.long), opened)
        self._options, self._checkpoint = for_task(model, opened.checkpoint, self._task)
        self._engine: Engine | None = None
        self._scored = 0

    def scores(self, query: str, records: Sequence[Record]) -> list[float]:
        """The relevance of each record's text to the query; NaN for one that failed, with a warning."""
        from bertcli import pipeline
        from bertcli.planning import Plan

        feed = Feed(replace(record, index=index, pair=query) for index, record in enumerate(records))
        if self._engine is None:
            self._engine = choose_engine(self._options, self._checkpoint, feed, task=self._task)
        plan = Plan(self._engine.batch_tokens, self._engine.workers)
        results = list(pipeline.results(feed, task=self._task, engine=self._engine, plan=plan))
        self._scored += len(results)
        for result in results:
            if result.problem is not None:
                console.warn(f"{result.record.where}: not {VERB}: {result.problem.message}")
        return [result.values.get("score", math.nan) for result in results]

    def line(self) -> str:
        """What was done, for the end of a search."""
        ran_on = (
            "" if (engine := self._engine) is None else f" · {engine.name} {engine.device} {engine.dtype}"
        )
        return f"{grouped(self._scored)} reranked by {self._checkpoint.name}{ran_on}"

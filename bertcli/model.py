"""The library's model: each task as a method that takes texts and yields one result per record.

A method reads its input lazily, a block of records at a time, and yields results in input order. A model may be used
from several threads at once: it holds no state of a run, and its engines are loaded once.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from bertcli import console, requests
from bertcli.errors import UsageError
from bertcli.feed import Feed, characters
from bertcli.records import Record
from bertcli.runs.adapting import adapt_labels
from bertcli.runs.flow import attention_engine, choose_engine, for_task, tokens_ahead, work_of
from bertcli.runs.preflight import OpenModel, open_model
from bertcli.runs.tasks import TASKS, make_task, refuse_unread_pairs, task_name
from bertcli.sources.fields import choose_text_field, make_records

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from bertcli.engines import Engine
    from bertcli.records import Result
    from bertcli.runs.own_engine import OwnEngine
    from bertcli.tasks import Task

Texts: TypeAlias = Iterable[str | Mapping[str, Any] | None]
"""Texts, or records with a text field; None is a blank text."""

READ_BY_METHODS = frozenset({"text_field", "pair_field", "split_words"})
"""The options of input that texts in memory have, too."""


class Model:
    """A model on disk. `bertcli.load` makes one.

    Every method takes `texts`, an iterable of strings or of mappings, and the options of its request in
    `bertcli.requests` as keyword arguments, `text_field`, `pair_field` and `long` among them. For each text it yields
    a dict with the result fields that the command line would append: `windows` where a text took more than one,
    `truncated` where it was cut, `error` (a dict of `type` and `message`) where it failed. The fields of a mapping are
    not repeated.

    Raises ModelError for a model that cannot do the task and UsageError for options that make no sense, when the
    method is called.
    """

    def __init__(self, options: requests.ModelOptions) -> None:
        self._options = options
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        with console.to_logger():
            self._encoder = open_model(options)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._encoder.checkpoint.name

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that can run it: `instant`, `packed`."""
        from bertcli.engines.choosing import engines_for

        return tuple(engines_for(self._encoder.checkpoint))

    def result_fields(self, method: str, **options: Any) -> tuple[str, ...]:
        """The fields of the results of a method, called with these options, in their order; `windows`, `truncated` and
        `error` can come after them. Raises what the method would raise."""
        if method not in TASKS or method == "rerank":
            known = ", ".join(name for name in TASKS if name != "rerank")
            raise UsageError(f"'{method}' is no method with a result for each text", hint=f"one of {known}")
        request = TASKS[method].request(**self._merged(options))
        refuse_unread_pairs(request)
        with console.to_logger():
            task = make_task(request, self._opened(method))
        return tuple(dict.fromkeys([*task.fields, *task.optional]))

    def label(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """`label` and `score` of each text, by the model's own head or by `labels=["a", "b"]`; see requests.Label. With
        `adapt=True` the texts are a list or tuple, for they are read twice."""
        return self._results(requests.Label(**self._merged(options)), texts)

    def fill(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """`fills` of each text with `[MASK]`, best first; see requests.Fill."""
        return self._results(requests.Fill(**self._merged(options)), texts)

    def tag(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """`spans` of each text, with offsets in characters; see requests.Tag."""
        return self._results(requests.Tag(**self._merged(options)), texts)

    def score(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """`score`, `tokens` and `perplexity` of each text; see requests.Score."""
        return self._results(requests.Score(**self._merged(options)), texts)

    def attention(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """`tokens` of each text and their `attention` weights; see requests.Attention."""
        return self._results(requests.Attention(**self._merged(options)), texts)

    def answer(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """The `answer` to `question=` (or to the question in `pair_field=`) in each text; see requests.Answer."""
        return self._results(requests.Answer(**self._merged(options)), texts)

    def translate(self, texts: Texts, **options: Any) -> Iterator[dict[str, Any]]:
        """The `translation` of each text and its `score`; see requests.Translate."""
        return self._results(requests.Translate(**self._merged(options)), texts)

    def embed(self, texts: Texts, **options: Any) -> npt.NDArray[Any] | Iterator[dict[str, Any]]:
        """Embeddings; see requests.Embed. Of a list or tuple an array (texts, dim), float32 unless `output_dtype` says
        otherwise; of another iterable, or with `tokens=True`, a dict for each text. Raises ValueError where a text of
        a list is blank or fails: an array has no place for it. With `sparse=True` a dict with `terms` for each text,
        with `multi=True` one with `embeddings` (vectors, dim)."""
        request = requests.Embed(**self._merged(options))
        if request.role is not None:
            self._refuse_roles(f"embed with role={request.role!r}")
        found = self._results(request, texts)
        if request.tokens or request.sparse or request.multi or not isinstance(texts, list | tuple):
            return found
        return _stacked(found)

    def search(
        self, query: str, texts: Texts, *, k: int = 10, min_score: float = -math.inf, **options: Any
    ) -> list[dict[str, Any]]:
        """The `k` texts nearest to `query`, best first: dicts with `rank`, `score` and `index` (of the text, from 0)
        and the fields of the record. `options` are those of requests.Embed that choose the embedding: `pooling`,
        `dim`, `prompt_name`, and those of long texts."""
        from bertcli.search.sinks import Ranking
        from bertcli.tasks.search import search_task

        request = requests.Embed(**self._merged(options))
        self._refuse_roles("search")
        checkpoint, tokenizer = self._encoder.checkpoint, self._encoder.tokenizer
        with console.to_logger():
            self._encoder.check_search(request.pooling)
        task = search_task(
            (query,),
            checkpoint,
            tokenizer,
            request,
            pooling=request.pooling,
            dim=request.dim,
            prompt_name=request.prompt_name,
        )
        ranking = Ranking(1, most=k, least=min_score)
        for result in self._computed("embed", task, _records(texts, request)):
            ranking.write(result)
        (best,) = ranking.best()
        return [
            {"rank": rank, "score": score, "index": result.record.index, **result.record.fields}
            for rank, (result, score) in enumerate(best, 1)
        ]

    def rerank(
        self, query: str, texts: Texts, *, k: int | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """The `k` texts (None for all) most relevant to `query` by this cross-encoder, best first: dicts with `rank`,
        `score` and `index` (of the text, from 0) and the fields of the record. `options` are those of requests.Rerank
        that choose the text field, and those of long texts. Blank texts and texts that fail are left out."""
        request = requests.Rerank(**self._merged(options), query=query)
        with console.to_logger():
            task = make_task(request, self._encoder)
        computed = self._computed("rerank", task, _records(texts, request))
        scored = (
            (-result.values["score"], result.record.index, result.record)
            for result in computed
            if result.status == "done"
        )
        best = sorted(scored) if k is None else heapq.nsmallest(k, scored)
        return [
            {"rank": rank, "score": -score, "index": index, **record.fields}
            for rank, (score, index, record) in enumerate(best, 1)
        ]

    def _refuse_roles(self, method: str) -> None:
        """Raise UsageError where queries and documents have encoders of their own: a Model has one."""
        if self._encoder.checkpoint.pooling.routed:
            raise UsageError(
                f"{method}: {self.name} has an encoder for each role, and a Model one",
                hint="use bertcli.run with requests.Embed, or the command line",
            )

    def _merged(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a method and those of the model. Raises UsageError for one that a method would ignore."""
        parts = (requests.InputOptions(), requests.OutputOptions(), requests.RunOptions())
        elsewhere = (self._options, requests.ClusterOptions())
        ignored = requests.options_of(*parts, *elsewhere).keys() - READ_BY_METHODS
        if wrong := sorted(ignored.intersection(options)):
            raise UsageError(
                f"{', '.join(wrong)}: a method does not read this option",
                hint="give options of the model to bertcli.load, and files to bertcli.run",
            )
        return {**options, **requests.options_of(self._options)}

    def _results(self, request: requests.StreamRequest, texts: Texts) -> Iterator[dict[str, Any]]:
        """Check the request at once; compute when results are asked for."""
        refuse_unread_pairs(request)
        name = task_name(request)
        with console.to_logger():
            task = make_task(request, self._opened(name))
        again = None
        if isinstance(request, requests.Label) and request.adapt:
            if not isinstance(texts, list | tuple):
                raise UsageError("adapt reads the texts twice, and these cannot be", hint="give a list")
            again = _records(texts, request)
        computed = self._computed(name, task, _records(texts, request), again)
        return (_row(result) for result in computed)

    def _opened(self, name: str) -> OpenModel:
        """The model with the tokenizer that the task needs."""
        open_tokenizer = TASKS[name].open_tokenizer
        if open_tokenizer is None:
            return self._encoder
        return replace(self._encoder, tokenizer=open_tokenizer(self._encoder.checkpoint))

    def _computed(
        self, name: str, task: Task, records: Iterable[Record], again: Iterable[Record] | None = None
    ) -> Iterator[Result]:
        """The results of the records. `again` are the same records, for a task that is adapted to them first."""
        from bertcli import pipeline
        from bertcli.planning import Plan

        feed = Feed(records)
        with console.to_logger():
            engine = self._engine(name, task, feed)
            task.prepare(engine)
            if again is not None:
                adapt_labels(task, again, engine)
        plan = Plan(engine.batch_tokens, engine.workers)
        yield from pipeline.results(feed, task=task, engine=engine, plan=plan)

    def _engine(self, name: str, task: Task, feed: Feed) -> Engine:
        """The engine for a task: loaded once for all tasks that can share it."""
        entry, options, checkpoint = TASKS[name], self._options, self._encoder.checkpoint
        with self._loading:
            if entry.own_engine is not None:
                return self._own_engine(name, entry.own_engine, task, feed)
            if entry.needs_attention:
                if name not in self._engines:
                    self._engines[name] = attention_engine(options, checkpoint)
                return self._engines[name]
            options, adapted = for_task(options, checkpoint, task)
            reads = getattr(task, "head", None) if adapted is not checkpoint else None
            key = options.dtype if reads is None else f"{options.dtype} {reads.name}"
            packed = f"packed {key}"
            if packed in self._engines:  # it is loaded, so it is the faster one for any input
                return self._engines[packed]
            weigh = work_of(task) if entry.reads_many_times else characters
            engine = choose_engine(options, adapted, feed, weigh, task=task)
            return self._engines.setdefault(f"{engine.name} {key}", engine)

    def _own_engine(self, name: str, own: OwnEngine, task: Task, feed: Feed) -> Engine:
        """The engine that only one task has; once the packed one is loaded, that one for any input."""
        options, checkpoint = self._options, self._encoder.checkpoint
        packed = f"{name} packed"
        if packed in self._engines:
            return self._engines[packed]
        engine = own.choose(checkpoint, options, task, tokens_ahead(options, feed))
        key = f"{name} {engine}"
        if key not in self._engines:
            self._engines[key] = own.open(checkpoint, replace(options, engine=engine), None)
        return self._engines[key]


def _records(texts: Texts, request: requests.StreamRequest) -> Iterator[Record]:
    """Texts as records. Raises UsageError for one text that is not in a list, and when the first mapping does not say
    which field is the text."""
    if isinstance(texts, str | bytes | Mapping):
        raise UsageError(
            "this is one text, where an iterable of texts is expected", hint="put it into a list"
        )
    rows = iter(texts)
    head = list(itertools.islice(rows, 1))
    text_field = request.text_field or "text"
    if head and isinstance(head[0], Mapping):
        strings = tuple(name for name, value in head[0].items() if isinstance(value, str))
        text_field = choose_text_field(tuple(head[0]), strings, request, "the first record")
    placed = (
        (f"record {number}", dict(row) if isinstance(row, Mapping) else {text_field: row}, None)
        for number, row in enumerate(itertools.chain(head, rows), 1)
    )
    return make_records(placed, text_field, request.pair_field, split_words=request.split_words)


def _row(result: Result) -> dict[str, Any]:
    """The result fields alone: an input field may have the name of one."""
    return replace(result, record=replace(result.record, fields={})).row()


def _stacked(rows: Iterable[dict[str, Any]]) -> npt.NDArray[np.float32]:
    """The embeddings as an array (texts, dim)."""
    import numpy as np

    vectors = []
    for number, row in enumerate(rows):
        if row.get("embedding") is None:
            reason = row["error"]["message"] if "error" in row else "it is blank"
            raise ValueError(f"text {number} has no embedding: {reason}")
        vectors.append(row["embedding"])
    return np.stack(vectors) if vectors else np.empty((0, 0), np.float32)

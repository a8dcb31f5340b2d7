"""What `search` does: embed what is asked for and what is searched, rank, show.

query, texts       texts stream through the model, and the best are kept
query, vectors     the file of vectors is read in blocks; the records of the best are looked up
like, duplicates   texts are embedded into a temporary file first, for they are compared with each other
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from bertcli import console
from bertcli.console.drawing import duration, grouped
from bertcli.errors import BertcliError, UsageError
from bertcli.feed import Feed
from bertcli.records import Record, Result
from bertcli.runs.flow import choose_engine, run_into
from bertcli.runs.hits import FailureReporter, open_hits, warn_of_further_failures, write_hits
from bertcli.runs.preflight import open_model

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.pooling import Mode
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.receipt import Receipt
    from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions
    from bertcli.search.rows import Rows
    from bertcli.search.vectors import Vectors
    from bertcli.sinks import Sink
    from bertcli.sources import Source
    from bertcli.tasks import Task
    from bertcli.tasks.search import Queries

HIT_FIELDS = ("rank", "score", "where")
PAIR_FIELDS = ("score", "first", "second")
SAME_VECTOR = 0.95
"""The least cosine of two vectors of one text; rounding to 8 bits leaves more."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is looked for (the argument `query`, the `lines` of a file of queries, the record `like` counted
    from 1, or `duplicates` with that cosine), and where: in the texts of `inputs`, or in the vectors of the
    file `embeddings`."""

    query: str | None
    lines: tuple[str, ...]
    like: int | None
    duplicates: float | None
    embeddings: str | None
    most: int
    least: float
    pooling: Mode | None
    dim: int | None
    prompt_name: str | None
    query_prompt: str | None
    inputs: InputOptions
    outputs: OutputOptions
    model: ModelOptions
    long: LongOptions
    run: RunOptions

    @property
    def queries(self) -> tuple[str, ...]:
        """The one query, or those of the file."""
        return self.lines if self.query is None else (self.query,)

    @property
    def fields(self) -> tuple[str, ...]:
        """The result fields."""
        if self.duplicates is not None:
            return PAIR_FIELDS
        return ("query", *HIT_FIELDS) if len(self.queries) > 1 else HIT_FIELDS


def run_search(request: Request) -> int:
    """Search and return the exit code."""
    console.configure(quiet=request.run.quiet, verbose=request.run.verbose, color=request.outputs.color)
    stdout = console.claim_stdout()
    console.quiet_libraries(verbose=request.run.verbose)
    with ExitStack() as held:
        if request.embeddings is not None:
            return _among_vectors(request, request.embeddings, stdout, held)
        return _among_texts(request, stdout, held)


# Texts


def _among_texts(request: Request, stdout: BinaryIO, held: ExitStack) -> int:
    from bertcli.receipt import Receipt
    from bertcli.sources import open_source

    receipt = Receipt()
    source = open_source(request.inputs)
    held.callback(source.close)
    if source.prompt:
        raise UsageError("there is nothing to search", hint="name files, or pipe text in")
    if request.query is not None and not request.inputs.files and os.path.isfile(request.query):
        console.warn(f"{request.query} is a file, and taken as the query; the texts come from stdin")
    look = _ranked if request.queries else _compared
    try:
        with _hits_sink(request, stdout, source.field_names, source.text_field) as sink:
            write_hits(look(request, source, receipt, held), sink)
        receipt.finish()
    except (KeyboardInterrupt, BertcliError) as end:
        receipt.finish(interrupted=isinstance(end, KeyboardInterrupt))
        if receipt.read:
            console.say(receipt.line())
        if isinstance(end, BertcliError):
            raise
        return receipt.exit_code
    console.say(receipt.line())
    return receipt.exit_code


def _ranked(request: Request, source: Source, receipt: Receipt, held: ExitStack) -> Iterator[Result]:
    """The best of the texts as they stream by."""
    from bertcli.search.sinks import Ranking
    from bertcli.tasks.search import Search

    checkpoint, tokenizer = _opened(request)
    task = Search(
        _queries(request, checkpoint, tokenizer),
        checkpoint,
        tokenizer,
        request.long,
        pooling=request.pooling,
        prompt_name=request.prompt_name,
    )
    ranking = Ranking(len(request.queries), most=request.most, least=request.least)
    _carry(request, source, checkpoint, task, ranking, receipt)
    for query, best in zip(request.queries, ranking.best(), strict=True):
        for rank, (result, score) in enumerate(best, 1):
            yield _hit(request, result.record, query, rank, score)


def _compared(request: Request, source: Source, receipt: Receipt, held: ExitStack) -> Iterator[Result]:
    """Texts compared with each other, once the vectors of all of them are there."""
    from bertcli.search.rows import RecordSpool
    from bertcli.search.sinks import Spooling
    from bertcli.search.vectors import VectorSpool
    from bertcli.tasks.embed import Embed

    vectors, records = VectorSpool(), RecordSpool(source.field_names, source.text_field)
    held.callback(vectors.close)
    held.callback(records.close)
    checkpoint, tokenizer = _opened(request)
    task = Embed(
        checkpoint,
        tokenizer,
        request.long,
        pooling=request.pooling,
        dim=request.dim,
        prompt_name=request.prompt_name,
        role="document",
    )
    _carry(request, source, checkpoint, task, Spooling(vectors, records), receipt)
    yield from _found(request, vectors.vectors(), records, task.about)


def _carry(
    request: Request, source: Source, checkpoint: Checkpoint, task: Task, sink: Sink, receipt: Receipt
) -> None:
    """Run the pipeline, and warn of records that failed."""
    run_into(
        sink,
        source,
        checkpoint,
        task,
        receipt,
        request.model,
        max_errors=request.run.max_errors,
        counting=partial(FailureReporter, verb="searched"),
    )
    warn_of_further_failures(receipt, "searched")


# Vectors


def _among_vectors(request: Request, path: str, stdout: BinaryIO, held: ExitStack) -> int:
    from bertcli.search.rows import RecordSpool
    from bertcli.search.vectors import about_vectors, open_vectors

    began = time.monotonic()
    vectors = open_vectors(path, held)
    rows = _rows(request, path, held)
    about = about_vectors(path)
    with _hits_sink(request, stdout, rows.names, rows.text_field) as sink:
        found: Iterable[Result] = _found(request, vectors, rows, about)
        if request.duplicates is None:
            found = list(found)  # a few: none is shown when the records turn out to be others
        elif isinstance(rows, RecordSpool):
            rows.load()
        if isinstance(rows, RecordSpool):
            rows.refuse_unless(len(vectors))
        write_hits(found, sink)
    console.say(f"{grouped(len(vectors))} vectors searched · {duration(time.monotonic() - began)}")
    return 0


def _rows(request: Request, path: str, held: ExitStack) -> Rows:
    """The records the vectors belong to: those of the files named, else what lies with the vectors."""
    from bertcli.search.rows import IdRows, ParquetRows, RecordSpool
    from bertcli.sinks.npy import ids_path
    from bertcli.sources import open_source

    rows: Rows
    if request.inputs.files or request.inputs.texts:
        source = open_source(request.inputs)
        held.callback(source.close)
        rows = RecordSpool(source.field_names, source.text_field, source)
    elif path.endswith(".parquet"):
        rows = ParquetRows(path, request.inputs.text_field)
    else:
        rows = IdRows(ids_path(path), path)
    held.callback(rows.close)
    return rows


def _found(request: Request, vectors: Vectors, rows: Rows, about: Mapping[str, str]) -> Iterator[Result]:
    """What is looked for, among vectors that are all there. `about` says how they were made."""
    from bertcli.engines import available_cores
    from bertcli.search.nearest import near_duplicates, nearest, row_vector
    from bertcli.search.rows import IdRows
    from bertcli.tasks.similarity import known_similarity

    threads = request.model.threads or available_cores()
    if request.duplicates is not None:
        for pair in near_duplicates(vectors, request.duplicates, threads=threads):
            yield _pair(rows.record(pair.first), rows.record(pair.second), pair.cosine)
        return
    model = _Model(request) if request.like is None else None
    wanted = row_vector(vectors, request.like or 0) if model is None else model.queries(vectors)
    similarity = known_similarity(about.get("similarity")) if model is None else model.similarity
    most = request.most + (request.like is not None)  # which is found too
    best = nearest(vectors, wanted, most=most, least=request.least, threads=threads, similarity=similarity)
    if model is not None and not model.warn_of_role(about) and not isinstance(rows, IdRows):
        model.warn_of_others(vectors, [rows.record(hit.row) for hit in best[0]])
    for query, hits in zip(request.queries or ("",), best, strict=True):
        others = [hit for hit in hits if request.like is None or hit.row != request.like - 1]
        for rank, hit in enumerate(others[: request.most], 1):
            yield _hit(request, rows.record(hit.row), query, rank, hit.score)


class _Model:
    """The model whose vectors are searched, as the request names it."""

    def __init__(self, request: Request) -> None:
        from bertcli.tasks.search import similarity_of

        self._request = request
        self._checkpoint, self._tokenizer = _opened(request)
        queries = [Record(number, {}, text) for number, text in enumerate(request.queries)]
        self._engine = choose_engine(request.model, self._checkpoint, Feed(queries))
        self.similarity = similarity_of(self._checkpoint)

    def queries(self, vectors: Vectors) -> Array:
        """The vectors (queries, dim) of the queries, made as the file's were."""
        queries = _queries(self._request, self._checkpoint, self._tokenizer)
        if vectors.shape[1] != queries.dim:
            raise UsageError(
                f"holds vectors of {vectors.shape[1]}, and {self._checkpoint.name} makes {queries.dim}",
                hint="name the model they were made with by -m, and the --dim they were cut to",
                where=self._request.embeddings,
            )
        return queries.vectors(self._engine)

    def warn_of_role(self, about: Mapping[str, str]) -> bool:
        """Say so when the vectors are not those of documents, where the model embeds these in a way of their
        own. `about` is what `embed` wrote about the vectors, nothing in an older file."""
        from bertcli.models.prompts import choose_prompt

        pooling = self._checkpoint.pooling
        role = about.get("role")
        made = about.get("prompt", "") if about else choose_prompt(pooling)
        wanted = choose_prompt(pooling, name=self._request.prompt_name, role="document")
        lengths = [pooling.role_lengths.get(one or "") for one in ("document", role)]
        if made == wanted and lengths[0] == lengths[1]:
            return False
        how = f"as {role}" if role else "without a role"
        console.warn(
            f"{self._request.embeddings}: the texts were embedded {how}, with {made!r} before each;"
            f" {self._checkpoint.name} wants documents, with {wanted!r}: embed them anew with --role document"
        )
        return True

    def warn_of_others(self, vectors: Vectors, found: Sequence[Record]) -> None:
        """Say so when a vector is not the one that this model makes of its text: hits of another model's
        vectors, or of another file's, look like any others. `found` are the records at whose vectors it
        looks: one of them is enough."""
        from bertcli.tasks.pooling import TextVector, unit
        from bertcli.tasks.search import text_vectors
        from bertcli.tasks.similarity import cosines_of

        request = self._request
        record = min((one for one in found if one.text), key=lambda one: len(one.text or ""), default=None)
        if record is None:
            return
        text = TextVector(
            self._checkpoint,
            self._tokenizer,
            request.long,
            pooling=request.pooling,
            prompt_name=request.prompt_name,
            role="document",
        )
        own = text_vectors([record.text or ""], text, self._engine)[:, : vectors.shape[1]]
        cosine = cosines_of(vectors[record.index : record.index + 1], unit(own)).item()
        if not cosine >= SAME_VECTOR:
            console.warn(
                f"{request.embeddings}: vector {record.index + 1} is not what {self._checkpoint.name} makes"
                f" of {record.where} (cosine {cosine:.2f}); name the files and the model (-m) it was made of"
            )


# Both


def _opened(request: Request) -> tuple[Checkpoint, Tokenizer]:
    model = open_model(request.model)
    model.check("embed", pooling=request.pooling)
    return model.checkpoint, model.tokenizer


def _queries(request: Request, checkpoint: Checkpoint, tokenizer: Tokenizer) -> Queries:
    from bertcli.tasks.search import Queries

    return Queries(
        request.queries,
        checkpoint,
        tokenizer,
        request.long,
        pooling=request.pooling,
        prompt_name=request.query_prompt,
        dim=request.dim,
    )


def _hit(request: Request, record: Record, query: str, rank: int, score: float) -> Result:
    values = {"query": query, "rank": rank, "score": score, "where": record.where}
    return Result(_visible(record), {name: values[name] for name in request.fields})


def _pair(first: Record, second: Record, cosine: float) -> Result:
    both = [{"where": record.where, **record.fields} for record in (first, second)]
    record = Record(second.index, {}, _visible(second).text, where=second.where)
    return Result(record, {"score": cosine, "first": both[0], "second": both[1]})


def _visible(record: Record) -> Record:
    """The record; one found without a text is no blank one."""
    return replace(record, text=record.text or "-")


def _vector_files(request: Request) -> list[str]:
    """The file of vectors, and the one with their ids that may lie beside it."""
    from bertcli.sinks.npy import ids_path

    return [] if request.embeddings is None else [request.embeddings, ids_path(request.embeddings)]


def _hits_sink(
    request: Request, stdout: BinaryIO, names: tuple[str, ...], text_field: str
) -> AbstractContextManager[Sink]:
    """Where the records found go. `names` are their fields."""
    from bertcli.sinks import Layout

    inputs, outputs = request.inputs, request.outputs
    texts = inputs.files or (() if inputs.texts or request.embeddings is not None else ("-",))
    layout = Layout(
        task="search",
        inputs=() if request.duplicates is not None else names,
        results=request.fields,
        extras=(),
        text_field=text_field,
        id_field=inputs.id_field if request.duplicates is None else None,
        prefix=outputs.prefix,
    )
    return open_hits(outputs, layout, stdout, [*texts, *_vector_files(request)])

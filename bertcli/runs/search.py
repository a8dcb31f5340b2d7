"""What `search` does: embed the queries and the texts, rank the texts, write the best.

query, texts            texts stream through the model, and the best are kept
query, embeddings       the file is read in blocks; the records of the best are looked up
query, index            candidates by short codes, whose vectors are compared
query, hybrid           the nearest texts and the best by their words, joined by rank
query, rerank           the nearest texts of either are ordered by a cross-encoder
like, near duplicates   texts are embedded into a temporary file first, for they are compared with each other
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

from bertcli import console
from bertcli.errors import UsageError
from bertcli.records import Record, Result
from bertcli.runs.flow import run_into
from bertcli.runs.hits import (
    FailureReporter,
    closing_receipt,
    open_hits,
    warn_of_further_failures,
    write_hits,
)
from bertcli.runs.preflight import read_text, refuse_pairs
from bertcli.runs.query_model import QueryModel, open_for_search, query_encoder, refuse_other_embeddings

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.receipt import Receipt
    from bertcli.requests import Search
    from bertcli.runs.rerank import Reranker
    from bertcli.search.rows import Rows
    from bertcli.search.vectors import Vectors
    from bertcli.search.words import WordIndex
    from bertcli.sinks import Sink
    from bertcli.sources import Source
    from bertcli.tasks import Task

    ByWords: TypeAlias = Callable[[str, int], Sequence[tuple[Record, float]]]
    """The most records with the highest BM25 scores for a query, best first."""

MOST = 10
"""How many texts are found for a query without -k."""

FUSED = 100
"""How many texts each of the two rankings of a hybrid search gives at least."""

HIT_FIELDS = ("rank", "score", "where")
PAIR_FIELDS = ("score", "first", "second")


class Found(NamedTuple):
    """A record, how near it is to a query (None where it was not among the nearest), by which score it is ordered, and
    its BM25 score, None where it was not among the best by words."""

    record: Record
    similarity: float | None
    score: float
    bm25: float | None = None


def search(request: Search, stdout: BinaryIO) -> Receipt:
    """Search, write what was found, and return the receipt. Raises BertcliError for what cannot be searched."""
    from bertcli.receipt import Receipt

    refuse_pairs(request.pair_field, "`search`")
    if request.query is not None and (request.queries or request.like or request.near_duplicates):
        request = replace(
            request, files=(request.query, *request.files), query=None
        )  # all arguments are files
    receipt = Receipt()
    with ExitStack() as held:
        run = _Search(request, _read_queries(request), stdout, receipt, held)
        with closing_receipt(receipt):
            if request.index is not None:
                run.among_index(request.index)
            elif request.embeddings is None:
                run.among_texts()
            else:
                run.among_vectors(request.embeddings)
    return receipt


def _read_queries(request: Search) -> tuple[str, ...]:
    """The one query, or those of the file. Raises UsageError for a file without any."""
    if request.queries is None:
        return () if request.query is None else (request.query,)
    lines = tuple(line.strip() for line in read_text(request.queries).splitlines() if line.strip())
    if not lines:
        raise UsageError("holds no query", where=request.queries, hint="write one a line")
    return lines


@dataclass(frozen=True, slots=True)
class _Search:
    """One search. `held` closes what was opened."""

    request: Search
    queries: tuple[str, ...]
    stdout: BinaryIO
    receipt: Receipt
    held: ExitStack

    @property
    def fields(self) -> tuple[str, ...]:
        """The result fields."""
        if self.request.near_duplicates is not None:
            return PAIR_FIELDS
        fields: tuple[str, ...] = HIT_FIELDS
        if self.request.rerank is not None or self.request.hybrid:
            fields = (*fields, "similarity")
        if self.request.hybrid:
            fields = (*fields, "bm25")
        return ("query", *fields) if len(self.queries) > 1 else fields

    @property
    def most(self) -> int:
        return self.request.k or MOST

    @property
    def least(self) -> float:
        return -math.inf if self.request.min_score is None else self.request.min_score

    @property
    def nearest(self) -> tuple[int, float]:
        """How many of the nearest texts are wanted, and their least similarity. Of a hybrid or reranked search the
        least score is another."""
        if self.request.rerank is None and not self.request.hybrid:
            return self.most, self.least
        best = self.most if self.request.rerank is None else self.request.rerank_top
        return max(best, FUSED if self.request.hybrid else 0), -math.inf

    # Texts

    def among_texts(self) -> None:
        from bertcli.sources import open_source

        request = self.request
        source = open_source(request)
        self.held.callback(source.close)
        if source.prompt:
            raise UsageError("there is nothing to search", hint="name files, or pipe text in")
        if request.query is not None and not request.files and os.path.isfile(request.query):
            console.warn(f"{request.query} is a file, and taken as the query; the texts come from stdin")
        look = self._ranked if self.queries else self._compared
        with self._results(source.field_names, source.text_field) as sink:
            write_hits(look(source), sink)

    def _ranked(self, source: Source) -> Iterator[Result]:
        """The best of the texts as they stream by."""
        from bertcli.search.rows import RecordSpool
        from bertcli.search.sinks import Ranking, WordSpooling
        from bertcli.tasks.search import search_task

        checkpoint, tokenizer = open_for_search(self.request)
        task = search_task(
            self.queries,
            checkpoint,
            tokenizer,
            self.request,
            pooling=self.request.pooling,
            dim=self.request.dim,
            prompt_name=self.request.prompt_name,
            query_prompt=self.request.query_prompt,
            encoder=query_encoder(self.request, checkpoint, self.queries),
        )
        reranker = self._reranker()
        most, least = self.nearest
        ranking = Ranking(len(self.queries), most=most, least=least)
        if not self.request.hybrid:
            self._run(source, checkpoint, task, ranking)
            by_words = None
        else:
            words, records = self._word_index(), RecordSpool(source.field_names, source.text_field)
            self.held.callback(records.close)
            self._run(source, checkpoint, task, WordSpooling(ranking, words, records))
            by_words = _among(words, records)
        best = [[(result.record, score) for result, score in hits] for hits in ranking.best()]
        yield from self._hits(self._joined(best, by_words), reranker)

    def _compared(self, source: Source) -> Iterator[Result]:
        """Texts compared with each other, once the vectors of all of them are there."""
        from bertcli.search.rows import RecordSpool
        from bertcli.search.sinks import Spooling
        from bertcli.search.vectors import VectorSpool
        from bertcli.tasks.embed import Embed

        request = self.request
        checkpoint, tokenizer = open_for_search(request)
        refuse_other_embeddings(checkpoint, "give a QUERY and the texts")
        vectors, records = VectorSpool(), RecordSpool(source.field_names, source.text_field)
        self.held.callback(vectors.close)
        self.held.callback(records.close)
        task = Embed(
            checkpoint,
            tokenizer,
            request,
            pooling=request.pooling,
            dim=request.dim,
            prompt_name=request.prompt_name,
            role="document",
        )
        self._run(source, checkpoint, task, Spooling(vectors, records))
        yield from self._found(vectors.vectors(), records, task.about)

    def _run(self, source: Source, checkpoint: Checkpoint, task: Task, sink: Sink) -> None:
        """Run the pipeline, and warn of records that failed."""
        run_into(
            sink,
            source,
            checkpoint,
            task,
            self.receipt,
            self.request,
            max_errors=self.request.max_errors,
            counting=partial(FailureReporter, verb="searched"),
        )
        warn_of_further_failures(self.receipt, "searched")

    # Embeddings

    def among_vectors(self, path: str) -> None:
        from bertcli.search.rows import RecordSpool
        from bertcli.search.vectors import about_vectors, open_vectors

        vectors = open_vectors(path, self.held)
        rows = self._rows(path)
        about = about_vectors(path)
        with self._results(rows.names, rows.text_field) as sink:
            found: Iterable[Result] = self._found(vectors, rows, about)
            if self.request.near_duplicates is None:
                found = list(found)  # a few: none is written when the records turn out to be others
            elif isinstance(rows, RecordSpool):
                rows.load()
            if isinstance(rows, RecordSpool):
                rows.refuse_unless(len(vectors))
            write_hits(found, sink)

    def _rows(self, path: str) -> Rows:
        """The records the vectors belong to: those of the files named, else what lies with the vectors."""
        from bertcli.search.rows import IdRows, ParquetRows, RecordSpool
        from bertcli.sinks.npy import ids_path
        from bertcli.sources import open_source

        rows: Rows
        if self.request.files or self.request.texts:
            source = open_source(self.request)
            self.held.callback(source.close)
            rows = RecordSpool(source.field_names, source.text_field, source)
        elif path.endswith(".parquet"):
            rows = ParquetRows(path, self.request.text_field)
        else:
            rows = IdRows(ids_path(path), path)
        self.held.callback(rows.close)
        return rows

    def _found(self, vectors: Vectors, rows: Rows, about: Mapping[str, str]) -> Iterator[Result]:
        """The best of vectors that are all there. `about` says how they were made."""
        from bertcli.engines import available_cores
        from bertcli.search.nearest import count_missing, near_duplicates, nearest, row_vector
        from bertcli.search.rows import IdRows
        from bertcli.tasks.similarity import known_similarity

        request = self.request
        threads = request.threads or available_cores()
        if request.near_duplicates is not None:
            if request.embeddings is not None:
                self._count(vectors, count_missing(vectors))
            for pair in near_duplicates(vectors, request.near_duplicates, threads=threads):
                yield _pair(rows.record(pair.first), rows.record(pair.second), pair.cosine)
            return
        reads = "--rerank" if request.rerank is not None else "--hybrid" if request.hybrid else None
        if reads is not None and (isinstance(rows, IdRows) or not rows.text_field):
            raise UsageError(
                f"{reads} reads texts, and there are none with the vectors",
                where=request.embeddings,
                hint="name the files that the vectors were made from",
            )
        reranker = self._reranker()
        if request.like is None:
            model = QueryModel(request, self.queries)
            if request.embeddings is not None:
                self.receipt.ran_on(model.engine)
            wanted, similarity = model.vectors(vectors.shape[1]), model.similarity
        else:
            model = None
            wanted = row_vector(vectors, request.like)
            similarity = known_similarity(about.get("similarity"))
        most, least = self.nearest
        most += request.like is not None  # which is found too
        best, missing = nearest(
            vectors, wanted, most=most, least=least, threads=threads, similarity=similarity
        )
        if request.embeddings is not None:
            self._count(vectors, missing)
        if model is not None and not model.warn_of_role(about) and not isinstance(rows, IdRows):
            model.warn_of_others(vectors, [rows.record(hit.row) for hit in best[0]])
        others = [[hit for hit in hits if hit.row != (request.like or 0) - 1] for hits in best]
        near = ([(rows.record(hit.row), hit.score) for hit in hits] for hits in others)
        by_words = self._words_of(rows, len(vectors)) if request.hybrid else None
        yield from self._hits(self._joined(near, by_words), reranker)

    def _words_of(self, rows: Rows, count: int) -> ByWords:
        """The first `count` rows by their words."""
        words = self._word_index()
        for row in range(count):
            if text := rows.record(row).text:
                words.add(row, text)
        return _among(words, rows)

    def _count(self, vectors: Vectors, missing: int) -> None:
        """Count vectors of a file for the receipt: a row without one belongs to a blank or failed record."""
        self.receipt.done, self.receipt.blank = len(vectors) - missing, missing

    # An index

    def among_index(self, path: str) -> None:
        from bertcli.engines import available_cores
        from bertcli.runs.index import open_store, refuse_other_model

        store = open_store(path)
        self.held.callback(store.close)
        made = {name: store.facts["options"][name] for name in ("pooling", "dim")}
        with self._results(tuple(store.facts["names"]), store.facts["text_field"]) as sink:
            refuse = partial(refuse_other_model, store, path)
            model = QueryModel(replace(self.request, **made), self.queries, refuse)
            reranker = self._reranker()
            self.receipt.ran_on(model.engine)
            most, least = self.nearest
            hits = store.nearest(
                model.vectors(),
                most=most,
                least=least,
                threads=self.request.threads or available_cores(),
            )
            self.receipt.done = len(store)
            by_words = store.nearest_by_words if self.request.hybrid else None
            write_hits(self._hits(self._joined(hits, by_words), reranker), sink)

    # Both

    def _reranker(self) -> Reranker | None:
        from bertcli.runs.rerank import Reranker

        model = self.request.rerank
        return (
            None
            if model is None
            else Reranker(replace(self.request, model=model, adapter=None), self.request)
        )

    def _word_index(self) -> WordIndex:
        from bertcli.search.words import WordIndex

        words = WordIndex()
        self.held.callback(words.close)
        return words

    def _joined(
        self, nearest: Iterable[Sequence[tuple[Record, float]]], by_words: ByWords | None
    ) -> Iterator[list[Found]]:
        """The texts nearest to each query, with their similarities; of a hybrid search joined with the best by words,
        by the ranks they have in both."""
        from bertcli.search.words import fused_scores

        for query, near in zip(self.queries or ("",), nearest, strict=True):
            if by_words is None:
                yield [Found(record, score, score) for record, score in near]
                continue
            worded = by_words(query, self.nearest[0])
            records = {record.index: record for record, _ in (*near, *worded)}
            similarity, bm25 = ({record.index: score for record, score in hits} for hits in (near, worded))
            yield [
                Found(records[number], similarity.get(number), score, bm25.get(number))
                for number, score in fused_scores([list(similarity), list(bm25)]).items()
                if self.request.rerank is not None or score >= self.least
            ]

    def _hits(self, nearest: Iterable[Sequence[Found]], reranker: Reranker | None) -> Iterator[Result]:
        """The hits of each query from the texts nearest to it."""
        from bertcli.search.sinks import hit_values

        for query, found in zip(self.queries or ("",), nearest, strict=True):
            if reranker is not None:
                found = found[: self.request.rerank_top]
                scores = reranker.scores(query, [one.record for one in found])
                scored = [one._replace(score=score) for one, score in zip(found, scores, strict=True)]
                found = sorted((one for one in scored if one.score >= self.least), key=lambda one: -one.score)
            for rank, one in enumerate(found[: self.most], 1):
                values = hit_values(rank, one.score, one.record) | {
                    "query": query,
                    "similarity": one.similarity,
                    "bm25": one.bm25,
                }
                yield Result(_visible(one.record), {name: values[name] for name in self.fields})
        if reranker is not None:
            console.say(reranker.line())

    def _results(self, names: tuple[str, ...], text_field: str) -> AbstractContextManager[Sink]:
        """The sink for the records found. `names` are their fields."""
        from bertcli.sinks import Layout

        request = self.request
        has_vectors = request.embeddings is not None or request.index is not None
        has_stdin = not request.files and not request.texts and not has_vectors
        texts = ("-",) if has_stdin else request.files
        layout = Layout(
            task="search",
            inputs=() if request.near_duplicates is not None else names,
            results=self.fields,
            extras=(),
            text_field=text_field,
            id_field=request.id_field if request.near_duplicates is None else None,
            prefix=request.prefix,
            formats=request.formats,
            view="hits",
        )
        return open_hits(request, layout, self.stdout, [*texts, *_vector_files(request)])


def _among(words: WordIndex, rows: Rows) -> ByWords:
    """The best of texts by their words, once all are there; `rows` has the records by their numbers."""
    words.commit()

    def by_words(query: str, most: int) -> list[tuple[Record, float]]:
        return [(rows.record(match.number), match.score) for match in words.nearest(query, most)]

    return by_words


def _pair(first: Record, second: Record, cosine: float) -> Result:
    both = [{"where": record.where, **record.fields} for record in (first, second)]
    record = Record(second.index, {}, _visible(second).text, where=second.where)
    return Result(record, {"score": cosine, "first": both[0], "second": both[1]})


def _visible(record: Record) -> Record:
    """The record; one found without a text is not blank."""
    return replace(record, text=record.text or "-")


def _vector_files(request: Search) -> list[str]:
    """The file of vectors, and the one with their ids that may lie beside it."""
    from bertcli.sinks.npy import ids_path

    return [] if request.embeddings is None else [request.embeddings, ids_path(request.embeddings)]

"""Texts by their words: BM25 (Robertson and Zaragoza 2009) by tantivy, in a folder or in a temporary one.

Words are runs of letters and digits in lower case, without accents.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bertcli.errors import EngineError

WORD_FIELD, NUMBER_FIELD = "text", "number"
ANALYZER = "words"
LONGEST_WORD = 64  # bytes
MEMORY = 1 << 26  # bytes of the writer; tantivy writes a segment when it is full
RRF_CONSTANT = 60
"""k of reciprocal rank fusion: score = Σ 1/(k + rank), over the rankings that have the text (Cormack et al. 2009)."""


class WordMatch(NamedTuple):
    """The number of a text, and its BM25 score for a query."""

    number: int
    score: float


class WordIndex:
    """Texts by number. What is added and removed can be found after `commit`. Raises EngineError where tantivy is not
    installed."""

    def __init__(self, folder: str | None = None) -> None:
        self._tantivy = import_tantivy()
        self._temporary = tempfile.TemporaryDirectory() if folder is None else None
        place = folder or str(self._temporary and self._temporary.name)
        os.makedirs(place, exist_ok=True)
        builder = self._tantivy.SchemaBuilder()
        builder.add_integer_field(NUMBER_FIELD, stored=True, indexed=True, fast=True)
        builder.add_text_field(WORD_FIELD, tokenizer_name=ANALYZER, index_option="freq")
        self._schema = builder.build()
        self._analyzer = _analyzer(self._tantivy)
        self._index = self._tantivy.Index(self._schema, path=place)
        self._index.register_tokenizer(ANALYZER, self._analyzer)
        self._writer: Any = None

    def add(self, number: int, text: str) -> None:
        document = self._tantivy.Document()
        document.add_integer(NUMBER_FIELD, number)
        document.add_text(WORD_FIELD, text)
        self._opened_writer().add_document(document)

    def remove(self, numbers: Iterable[int]) -> None:
        writer = self._opened_writer()
        for number in numbers:
            writer.delete_documents_by_term(NUMBER_FIELD, number)

    def remove_from(self, number: int) -> None:
        """Remove all texts with this number or a higher one."""
        query = self._tantivy.Query.range_query(
            self._schema, NUMBER_FIELD, self._tantivy.FieldType.Integer, number, 2**62
        )
        self._opened_writer().delete_documents_by_query(query)

    def commit(self) -> None:
        if self._writer is not None:
            self._writer.commit()
            self._writer.wait_merging_threads()
            self._writer = None

    def nearest(self, query: str, most: int) -> list[WordMatch]:
        """The texts with the highest BM25 scores, best first, and of equal ones the earlier number first."""
        self._index.reload()
        searcher = self._index.searcher()
        words = self._analyzer.analyze(query)
        if not words or not searcher.num_docs:
            return []
        terms = [
            (
                self._tantivy.Occur.Should,
                self._tantivy.Query.term_query(self._schema, WORD_FIELD, word, "freq"),
            )
            for word in words
        ]
        found = searcher.search(self._tantivy.Query.boolean_query(terms), most, count=False)
        matches = [WordMatch(searcher.doc(address)[NUMBER_FIELD][0], score) for score, address in found.hits]
        return sorted(matches, key=lambda match: (-match.score, match.number))

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def _opened_writer(self) -> Any:
        if self._writer is None:
            self._writer = self._index.writer(heap_size=MEMORY, num_threads=1)
        return self._writer


def import_tantivy() -> Any:
    """The module. Raises EngineError where it is not installed."""
    try:
        import tantivy
    except ImportError as error:
        raise EngineError(
            "searching by words needs the package tantivy", hint="pip install 'bertcli[index]'"
        ) from error
    return tantivy


def fused_scores(rankings: Iterable[Sequence[int]]) -> dict[int, float]:
    """The reciprocal rank fusion of rankings of numbers: number -> score, best first."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, number in enumerate(ranking, 1):
            scores[number] = scores.get(number, 0.0) + 1 / (RRF_CONSTANT + rank)
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def _analyzer(tantivy: Any) -> Any:
    filters = tantivy.Filter
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    for one in (filters.remove_long(LONGEST_WORD), filters.lowercase(), filters.ascii_fold()):
        builder = builder.filter(one)
    return builder.build()

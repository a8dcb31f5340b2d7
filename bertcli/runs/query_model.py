"""The model that embeds the queries of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bertcli import console
from bertcli.errors import UsageError
from bertcli.feed import Feed
from bertcli.records import Record
from bertcli.runs.flow import choose_engine
from bertcli.runs.preflight import open_model

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.requests import Role, Search
    from bertcli.search.vectors import Vectors
    from bertcli.tasks.search import QueryEncoder

SAME_VECTOR = 0.95
"""The least cosine of two vectors of one text; rounding to 8 bits leaves more."""


def open_for_search(request: Search, role: Role = "document") -> tuple[Checkpoint, Tokenizer]:
    """The model of a search and its tokenizer. `role` chooses the encoder where queries and documents have different
    ones."""
    model = open_model(request, role=role)
    model.check_search(request.pooling)
    return model.checkpoint, model.tokenizer


def refuse_other_embeddings(checkpoint: Checkpoint, hint: str) -> None:
    """Raise UsageError for a model that makes something else than a vector a text."""
    pooling = checkpoint.pooling
    if pooling.sparse is not None or pooling.multi is not None:
        made = "sparse embeddings" if pooling.multi is None else "a vector for each token"
        raise UsageError(f"{checkpoint.name} makes {made}, and texts are compared with a query", hint=hint)


def query_encoder(request: Search, checkpoint: Checkpoint, queries: Sequence[str]) -> QueryEncoder | None:
    """The encoder of the queries, where it is another than that of the texts, `checkpoint`."""
    from bertcli.tasks.search import QueryEncoder

    if not checkpoint.pooling.routed:
        return None
    own, tokenizer = open_for_search(request, "query")
    records = [Record(number, {}, text) for number, text in enumerate(queries)]
    return QueryEncoder(own, tokenizer, choose_engine(request, own, Feed(records)))


class QueryModel:
    """The model that embeds queries to be compared with vectors that exist already, in a file or an index."""

    def __init__(
        self,
        request: Search,
        texts: Sequence[str],
        refuse: Callable[[Checkpoint], None] = lambda checkpoint: None,
    ) -> None:
        """`refuse` raises ModelError for a model that did not make the vectors."""
        from bertcli.tasks.search import similarity_of

        self._request, self._texts = request, texts
        self._documents, self._tokenizer = open_for_search(request)
        refuse(self._documents)
        self._checkpoint = self._documents
        if self._documents.pooling.routed:
            self._checkpoint, self._tokenizer = open_for_search(request, "query")
        if self._checkpoint.pooling.multi is not None:
            refuse_other_embeddings(self._checkpoint, "search the texts themselves")
        records = [Record(number, {}, text) for number, text in enumerate(texts)]
        self.engine = choose_engine(request, self._checkpoint, Feed(records))
        self.similarity = similarity_of(self._checkpoint)

    def vectors(self, width: int | None = None) -> Array:
        """The vectors (queries, dim) of the queries. Raises UsageError where dim is not `width`, that of the texts'
        vectors."""
        from bertcli.tasks.search import Queries

        request = self._request
        queries = Queries(
            self._texts,
            self._checkpoint,
            self._tokenizer,
            request,
            pooling=request.pooling,
            prompt_name=request.query_prompt,
            dim=request.dim,
        )
        if width not in (None, queries.dim):
            raise UsageError(
                f"holds vectors of {width}, and {self._checkpoint.name} makes {queries.dim}",
                hint="name the model they were made with by -m, and the --dim they were cut to",
                where=request.embeddings,
            )
        return queries.vectors(self.engine)

    def warn_of_role(self, about: Mapping[str, str]) -> bool:
        """Warn when the vectors are not those of documents, where the model embeds documents in another way.
        `about` is what `embed` wrote about the vectors, nothing in an older file."""
        from bertcli.models.prompts import choose_prompt

        pooling = self._documents.pooling
        role = about.get("role")
        made = about.get("prompt", "") if about else choose_prompt(pooling)
        wanted = choose_prompt(pooling, name=self._request.prompt_name, role="document")
        lengths = [pooling.role_lengths.get(one or "") for one in ("document", role)]
        if made == wanted and lengths[0] == lengths[1]:
            return False
        how = f"as {role}" if role else "without a role"
        console.warn(
            f"{self._request.embeddings}: the texts were embedded {how}, with {made!r} before each;"
            f" {self._checkpoint.name} wants documents, with {wanted!r}: embed them again with --role document"
        )
        return True

    def warn_of_others(self, vectors: Vectors, found: Sequence[Record]) -> None:
        """Warn when a vector is not the one that this model makes of its text: hits of another model's vectors,
        or of another file's, look like any others. `found` are records with their vectors; one is checked."""
        from bertcli.tasks.pooling import TextVector, unit
        from bertcli.tasks.search import text_vectors
        from bertcli.tasks.similarity import cosines_of

        request = self._request
        if self._documents.pooling.routed:
            return
        record = min((one for one in found if one.text), key=lambda one: len(one.text or ""), default=None)
        if record is None:
            return
        text = TextVector(
            self._checkpoint,
            self._tokenizer,
            request,
            pooling=request.pooling,
            prompt_name=request.prompt_name,
            role="document",
        )
        own = text_vectors([record.text or ""], text, self.engine)[:, : vectors.shape[1]]
        cosine = cosines_of(vectors[record.index : record.index + 1], unit(own)).item()
        if not cosine >= SAME_VECTOR:
            console.warn(
                f"{request.embeddings}: vector {record.index + 1} is not what {self._checkpoint.name} makes"
                f" of {record.where} (cosine {cosine:.2f}); name the files and the model (-m) it was made of"
            )

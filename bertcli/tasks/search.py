"""search: how near each text is to each of some queries, by the model's similarity function.

Texts are embedded as `embed --role document` does it, queries as with `--role query`: models for retrieval
were trained with a prompt for each (see `models.prompts`). `dim` keeps the first numbers of each vector, as
`embed --dim` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bertcli.errors import ModelError, UsageError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.multi import MultiSearch, TokenVectors
from bertcli.tasks.pooling import TextVector, unit
from bertcli.tasks.similarity import Similarity, known_similarity, similarities
from bertcli.tasks.sparse import SparseVector

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.pooling import Mode
    from bertcli.models.prompts import Role
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions


class Queries:
    """Texts that are searched for, as the vectors (queries, dim) that `vectors` makes of them."""

    def __init__(
        self,
        texts: Sequence[str],
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        long: LongOptions,
        *,
        pooling: Mode | None = None,
        prompt_name: str | None = None,
        dim: int | None = None,
        engine: Engine | None = None,
    ) -> None:
        """`engine` computes queries that have an encoder of their own."""
        self.texts, self._engine = texts, engine
        self._text = text_vector(
            checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name, role="query"
        )
        if dim is not None and dim > self._text.width:
            raise UsageError(
                f"--dim {dim} is not in the vectors", hint=f"they have {self._text.width} dimensions"
            )
        self.dim = dim or self._text.dim
        self.similarity = similarity_of(checkpoint)

    def vectors(self, engine: Engine) -> Array:
        vectors = text_vectors(self.texts, self._text, self._engine or engine)[:, : self.dim]
        return unit(vectors) if self._text.normalize else vectors


def similarity_of(checkpoint: Checkpoint) -> Similarity:
    """The similarity function that the model's files ask for. Raises ModelError for one that is unknown."""
    try:
        return known_similarity(checkpoint.pooling.similarity)
    except ValueError as error:
        raise ModelError(
            f"similarity_fn_name {error}",
            where=str(checkpoint.path / "config_sentence_transformers.json"),
            hint="use a model that makes one vector a text, or correct the file",
        ) from None


def text_vector(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    long: LongOptions,
    *,
    pooling: Mode | None = None,
    prompt_name: str | None = None,
    role: Role,
) -> TextVector | SparseVector:
    """How the model turns a text into what is compared: a vector, or the weights of terms. Raises ModelError for sparse
    embeddings without a masked-LM head."""
    if (splade := checkpoint.pooling.sparse) is None:
        return TextVector(checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name, role=role)
    head = checkpoint.head("fill")
    return SparseVector(checkpoint, tokenizer, head, splade, long, prompt_name=prompt_name, role=role)


def text_vectors(texts: Sequence[str], text: TextVector | SparseVector, engine: Engine) -> Array:
    """The vectors (texts, width) that `text` makes of a few texts."""
    cut = [text.encode(one).windows for one in texts]
    vectors = iter(text.forward(engine, [window for windows in cut for window in windows]))
    return np.stack([text.combine(windows, [next(vectors) for _ in windows]) for windows in cut])


class QueryEncoder(NamedTuple):
    """The encoder of queries, where it is another than that of texts."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    engine: Engine


def search_task(
    queries: Sequence[str],
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    long: LongOptions,
    *,
    encoder: QueryEncoder | None = None,
    pooling: Mode | None = None,
    dim: int | None = None,
    prompt_name: str | None = None,
    query_prompt: str | None = None,
) -> Search | MultiSearch:
    """The task that compares texts with queries: by one vector each, by the weights of terms, or token by token.
    `encoder` is that of the queries, where it is another. Raises
    UsageError for options that contradict the model, ModelError for a model that cannot."""
    multi = checkpoint.pooling.multi
    if multi is None:
        made = Queries(
            queries,
            checkpoint if encoder is None else encoder.checkpoint,
            tokenizer if encoder is None else encoder.tokenizer,
            long,
            pooling=pooling,
            prompt_name=query_prompt,
            dim=dim,
            engine=None if encoder is None else encoder.engine,
        )
        return Search(made, checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name)
    if pooling is not None or dim is not None:
        raise UsageError(
            f"{checkpoint.name} makes a vector for each token: --pooling and --dim are for one vector a text",
            hint="leave them out",
        )
    query = TokenVectors(checkpoint, tokenizer, multi, long, prompt_name=query_prompt, role="query")
    text = TokenVectors(checkpoint, tokenizer, multi, long, prompt_name=prompt_name, role="document")
    return MultiSearch(queries, query, text, mean=multi.mean)


class Search(Task):
    """How near a text is to all queries: (queries,)."""

    fields = ("scores",)

    def __init__(
        self,
        queries: Queries,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        long: LongOptions,
        *,
        pooling: Mode | None = None,
        prompt_name: str | None = None,
    ) -> None:
        self._queries = queries
        self._text = text_vector(
            checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name, role="document"
        )
        self._wanted: Array = np.empty((0, 0), dtype=np.float32)

    def prepare(self, engine: Engine) -> None:
        """Embed the queries."""
        self._wanted = self._queries.vectors(engine)

    def encode(self, record: Record) -> EncodedRecord:
        return self._text.encode(record.text or "")

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A vector (hidden,) a window."""
        return self._text.forward(engine, windows)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        vector = self._text.combine(encoded.windows, outputs)[None, : self._queries.dim]
        if self._text.normalize:
            vector = unit(vector)
        return {"scores": similarities(vector, self._wanted, self._queries.similarity)[0]}

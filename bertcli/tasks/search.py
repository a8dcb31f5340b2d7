"""search: how near each text is to each of some queries, by the cosine of their vectors.

Texts and queries are made vectors as `pooling` tells, but with the prompts that models for questions and
their answers were trained with: a query gets the prompt called `query` where the model has one, a text the
model's default. `dim` keeps the first numbers of each vector, as `embed --dim` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import UsageError
from bertcli.tasks.asking import ask_in_packs
from bertcli.tasks.pooling import TextVector, unit

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.pooling import Mode
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.options import LongOptions
    from bertcli.records import Record, Window
    from bertcli.tasks import Encoded

QUERY_PROMPT = "query"


class Queries:
    """Texts that are searched for, as the vectors (queries, dim) of length 1 that `vectors` makes of them."""

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
    ) -> None:
        if prompt_name is None and QUERY_PROMPT in checkpoint.pooling.prompts:
            prompt_name = QUERY_PROMPT
        self.texts = texts
        self._text = TextVector(checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name)
        if dim is not None and dim > self._text.width:
            raise UsageError(
                f"--dim {dim} is not in the vectors", hint=f"they have {self._text.width} dimensions"
            )
        self.dim = dim or self._text.dim

    def vectors(self, engine: Engine) -> Array:
        return unit(text_vectors(self.texts, self._text, engine)[:, : self.dim])


def text_vectors(texts: Sequence[str], text: TextVector, engine: Engine) -> Array:
    """The vectors (texts, hidden) that `text` makes of a few texts."""
    cut = [text.encode(one).windows for one in texts]
    vectors = ask_in_packs(engine, [window for windows in cut for window in windows], text.ask)
    return np.stack([text.combine(windows, [next(vectors) for _ in windows]) for windows in cut])


class Search:
    """The cosines (queries,) of a text with all queries."""

    fields = ("cosines",)
    optional: tuple[str, ...] = ()

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
        self._text = TextVector(checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name)
        self._directions: Array = np.empty((0, 0), dtype=np.float32)

    def prepare(self, engine: Engine) -> None:
        """Embed the queries."""
        self._directions = self._queries.vectors(engine)

    def encode(self, record: Record) -> Encoded:
        return self._text.encode(record.text or "")

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A vector (hidden,) a window."""
        return engine.forward(windows, self._text.ask)

    def decode(self, record: Record, encoded: Encoded, outputs: Sequence[Array]) -> Mapping[str, Any]:
        vector = unit(self._text.combine(encoded.windows, outputs)[: self._queries.dim])
        return {"cosines": np.clip(self._directions @ vector, -1, 1)}

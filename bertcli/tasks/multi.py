"""A vector for each token of a text, and texts compared by them: late interaction, as ColBERT has it.

The similarity of a query and a text is the sum, over the query's vectors, of the largest product with a vector of the
text (MaxSim), or the mean of these where the model's files ask for it.

A query is cut to the model's length for queries. Where the model expands queries, mask tokens fill it up; if the others
do not attend to these, the query is computed by the instant engine, which knows such windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.engines import Hidden
from bertcli.engines.instant import Instant
from bertcli.errors import ModelError
from bertcli.models.prompts import choose_prompt
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.batching import forward_in_batches
from bertcli.tasks.modules import apply
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.multi_vector import Expansion, MultiVector
    from bertcli.models.prompts import Role
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions


class TokenVectors:
    """How one model turns a text into vectors (vectors, dim). The `prompt` goes before every text, as in
    `tasks.pooling.TextVector`. Raises ModelError for a model whose queries cannot be computed."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        multi: MultiVector,
        long: LongOptions,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        role: Role | None = None,
    ) -> None:
        own = checkpoint.pooling
        self.prompt = choose_prompt(own, name=prompt_name, text=prompt, role=role)
        self._tokenizer, self._multi = tokenizer, multi
        self._expansion = multi.expansion if role == "query" else None
        self._token = (
            None if self._expansion is None else _added_token(self._expansion, tokenizer, checkpoint)
        )
        self._instant: Instant | None = None
        if self._expansion is not None and not self._expansion.attend:
            self._instant = _instant(checkpoint)
        skips = (role or "document") in multi.skipped_in
        self._skipped = frozenset(tokenizer.id_of(word) for word in multi.skipped) if skips else frozenset()
        self._skipped -= {tokenizer.unknown_id}
        self._prefix, self._rest = self._split_prompt()
        most = checkpoint.position_limit
        length = own.role_lengths.get(role or "", checkpoint.embed_max_length)
        if self._expansion is not None:
            length = self._expansion.length if self._expansion.fixed else max(length, self._expansion.length)
        if role == "query":
            long = replace(long, long="truncate", max_length=None, overlap=None)
        self._windowing = Windowing(tokenizer, long, length=min(most, length), most=most)

    def encode(self, text: str) -> EncodedRecord:
        """The windows of a text."""
        ids = [*self._prefix, *self._tokenizer.encode(self._rest + text).ids]
        slices, truncated = self._windowing.slices(len(ids), self._windowing.capacity)
        windows = [self._windowing.window(ids, cut) for cut in slices]
        return EncodedRecord([self._expanded(window) for window in windows], truncated)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """The vectors (vectors, dim) of the new tokens of each window."""
        chosen: Engine = self._instant or engine
        states = forward_in_batches(chosen, windows, Hidden(-1))
        return [
            apply(self._multi.modules, state[self._places(window)])
            for window, state in zip(windows, states, strict=True)
        ]

    def combine(self, windows: Sequence[Window], vectors: Sequence[Array]) -> Array:
        """The vectors (vectors, dim) of a text from those of its windows."""
        return np.concatenate(vectors)

    def _places(self, window: Window) -> list[int]:
        """The positions of a window that have a vector: its new ones, but for tokens that are skipped."""
        return [place for place in range(*window.fresh) if window.ids[place] not in self._skipped]

    def _expanded(self, window: Window) -> Window:
        missing = 0 if self._expansion is None else self._expansion.length - len(window)
        if missing <= 0 or self._expansion is None or self._token is None:
            return window
        return replace(
            window,
            ids=[*window.ids, *[self._token] * missing],
            types=None if window.types is None else [*window.types, *[0] * missing],
            fresh=(0, self._expansion.length),
            unattended=0 if self._expansion.attend else missing,
        )

    def _split_prompt(self) -> tuple[list[int], str]:
        """The token that the prompt begins with, where it is one that no text is read as, and the rest of it."""
        for prefix in (self.prompt, *self.prompt.split(None, 1)[:1]):
            token = self._tokenizer.id_of(prefix, added=not self._multi.inserted) if prefix else None
            if token is not None and self.prompt.startswith(prefix):
                return [token], self.prompt.removeprefix(prefix)
        return [], self.prompt


class MultiEmbed(Task):
    """The vectors of each text."""

    fields = ("embeddings",)

    def __init__(self, vectors: TokenVectors) -> None:
        self._vectors = vectors

    def encode(self, record: Record) -> EncodedRecord:
        return self._vectors.encode(record.text or "")

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """The vectors (vectors, dim) of each window."""
        return self._vectors.forward(engine, windows)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        return {"embeddings": self._vectors.combine(encoded.windows, outputs)}


class MultiSearch(MultiEmbed):
    """How near a text is to all queries: (queries,)."""

    fields = ("scores",)

    def __init__(
        self, queries: Sequence[str], query: TokenVectors, text: TokenVectors, *, mean: bool
    ) -> None:
        super().__init__(text)
        self._queries, self._query, self._mean = queries, query, mean
        self._wanted: list[Array] = []

    def prepare(self, engine: Engine) -> None:
        """Embed the queries."""
        for text in self._queries:
            windows = self._query.encode(text).windows
            self._wanted.append(self._query.combine(windows, self._query.forward(engine, windows)))

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        vectors = self._vectors.combine(encoded.windows, outputs)
        return {"scores": np.array([max_sim(wanted, vectors, mean=self._mean) for wanted in self._wanted])}


def max_sim(query: Array, text: Array, *, mean: bool = False) -> float:
    """The similarity of a query (vectors, dim) and a text (vectors, dim); -∞ of a text without vectors."""
    best = (query @ text.T).max(axis=1, initial=-np.inf)
    return float(best.mean() if mean else best.sum())


def _added_token(expansion: Expansion, tokenizer: Tokenizer, checkpoint: Checkpoint) -> int:
    token = tokenizer.mask_id if expansion.token is None else tokenizer.id_of(expansion.token)
    if token is None:
        raise ModelError(
            f"{checkpoint.name} expands queries by the token {expansion.token or 'mask'!r}, which its tokenizer lacks",
            hint="download the model again",
        )
    return token


def _instant(checkpoint: Checkpoint) -> Instant:
    reason = Instant.supports(checkpoint)
    if reason is not None:
        raise ModelError(
            f"queries of {checkpoint.name} have tokens that no other attends to, which needs the instant engine:"
            f" {reason}",
            hint="use a model with an architecture that bertcli describes (docs/models.md)",
        )
    return Instant(checkpoint)

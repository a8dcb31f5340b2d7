"""Sparse embeddings: a weight for each term of the vocabulary, most of them 0.

A masked-LM head predicts words at every position of a text, special tokens included; the weight of a term is

    max over positions, or their sum, of log(1 + ReLU(logit))

as SPLADE has it (Formal et al. 2021, https://arxiv.org/abs/2109.10086): words of the text, and words that could stand
in their place. Of a text in several windows each position counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.engines import MaskLogits
from bertcli.models.prompts import choose_prompt
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.pooling import SpladePooling
    from bertcli.models.prompts import Role
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions

POSITIONS = 256
"""Positions that are projected onto the vocabulary at once: their logits take 30 MB for BERT."""


class SparseVector:
    """How one model turns a text into term weights (terms,). `width` and `dim` are the number of terms, and `prompt`
    goes before every text, as in `tasks.pooling.TextVector`."""

    normalize = False

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        splade: SpladePooling,
        long: LongOptions,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        role: Role | None = None,
    ) -> None:
        self.width = self.dim = checkpoint.vocab_size
        self.prompt = choose_prompt(checkpoint.pooling, name=prompt_name, text=prompt, role=role)
        self._splade = splade
        self._ask = MaskLogits(head)
        self._tokenizer = tokenizer
        most = checkpoint.position_limit
        length = min(most, checkpoint.pooling.role_lengths.get(role or "", checkpoint.embed_max_length))
        self._windowing = Windowing(tokenizer, long, length=length, most=most)

    def encode(self, text: str) -> EncodedRecord:
        """The windows of a text, which predict at every new position."""
        encoded = self._windowing.single(self._tokenizer.encode(self.prompt + text))
        windows = [replace(window, masks=tuple(range(*window.fresh))) for window in encoded.windows]
        return replace(encoded, windows=windows)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """The term weights (terms,) of each window."""
        found: list[Array] = []
        start = positions = 0
        for end, window in enumerate(windows):
            if end > start and positions + len(window.masks) > POSITIONS:
                found += map(self._pooled, engine.forward(windows[start:end], self._ask))
                start, positions = end, 0
            positions += len(window.masks)
        return found + [self._pooled(logits) for logits in engine.forward(windows[start:], self._ask)]

    def combine(self, windows: Sequence[Window], vectors: Sequence[Array]) -> Array:
        """The term weights (terms,) of a text from those of its windows."""
        stacked: Array = np.stack(vectors)
        weights: Array = stacked.max(axis=0) if self._splade.strategy == "max" else stacked.sum(axis=0)
        most = self._splade.most
        if most is not None and most < len(weights):
            weights[np.argpartition(weights, -most)[:-most]] = 0
        return weights

    def _pooled(self, logits: Array) -> Array:
        """Logits (positions, terms) -> term weights (terms,)."""
        weights: Array = np.log1p(np.maximum(logits, 0))
        if self._splade.twice:
            weights = np.log1p(weights)
        pooled: Array = weights.max(axis=0) if self._splade.strategy == "max" else weights.sum(axis=0)
        return pooled


class SparseEmbed(Task):
    """The terms of each text with a weight above 0, greatest first."""

    fields = ("terms",)

    def __init__(self, vector: SparseVector, tokenizer: Tokenizer) -> None:
        self._vector = vector
        self._tokenizer = tokenizer

    def encode(self, record: Record) -> EncodedRecord:
        return self._vector.encode(record.text or "")

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """Term weights (terms,) of each window."""
        return self._vector.forward(engine, windows)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        weights = self._vector.combine(encoded.windows, outputs)
        terms = np.flatnonzero(weights)
        order = terms[np.argsort(-weights[terms], kind="stable")]
        return {
            "terms": [
                {"term": self._tokenizer.piece(term), "weight": weight}
                for term, weight in zip(order.tolist(), weights[order].tolist(), strict=True)
            ]
        }

"""Static embeddings: the mean of the vectors that a table has for the tokens. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines import Hidden, Pooled, available_cores
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array, Ask
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window

BATCH_TOKENS = 8192


class Static:
    """The engine for a checkpoint without an encoder. Its only layer is the table."""

    name = "instant"
    device = "cpu"
    dtype = "float32"
    batch_invariant = True

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, batch_tokens: int | None = None
    ) -> None:
        self.workers = threads or available_cores()
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self._name = checkpoint.name
        self._table = checkpoint.static_table

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """The vectors (tokens, width) of each window, or the mean (width,) of its fresh ones."""
        lengths = [len(window) for window in windows]
        ids = np.fromiter((token for window in windows for token in window.ids), np.intp, sum(lengths))
        vectors = np.split(self._table.rows(ids), np.cumsum(lengths)[:-1])  # (tokens, width) of each
        match ask:
            case Hidden(layer=0 | -1):
                return vectors
            case Pooled(mode="mean", layer=0 | -1):
                return [
                    _mean(one[slice(*window.fresh)]) for one, window in zip(vectors, windows, strict=True)
                ]
        raise EngineError(
            f"{self._name} is a table of token vectors and has only their mean",
            hint="leave out --pooling and --layer",
        )

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        return [self.forward(windows, ask) for ask in asks]


def _mean(vectors: Array) -> Array:
    """Zeros for no vector, as of a text of which the tokenizer keeps nothing."""
    mean: Array = vectors.sum(axis=0) / np.float32(max(1, len(vectors)))
    return mean

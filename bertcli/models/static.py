"""Static embeddings: a table with a vector for each token in place of an encoder.

The vector of a text is the mean of those of its tokens; there are no special tokens and no limit of length.
sentence-transformers calls such a model StaticEmbedding; Model2Vec (https://github.com/MinishLab/model2vec) writes them
too, where several tokens may share a vector (`mapping`) and each has a weight (`weights`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import ModelError
from bertcli.models.jsonfile import ANOTHER_COPY

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from bertcli.models.weights import Weights

TYPE = "static"
"""The model type of such a checkpoint: config.json, where there is one, names another or none."""

_TABLES = ("embedding.weight", "embeddings")  # of sentence-transformers, of Model2Vec
_MAPPING, _WEIGHTS = "mapping", "weights"


def static_config(weights: Weights, folder: Path, no_limit: int) -> dict[str, Any]:
    """What config.json of an encoder would say. Raises ModelError for weights without a table."""
    table = StaticTable.of(weights, folder)
    return {
        "model_type": TYPE,
        "vocab_size": table.tokens,
        "hidden_size": table.width,
        "max_position_embeddings": no_limit,
    }


@dataclass(frozen=True, slots=True)
class StaticTable:
    """The vectors of all tokens; `tokens` is how many there are, `width` how many numbers each has."""

    weights: Weights
    name: str
    tokens: int
    width: int

    @classmethod
    def of(cls, weights: Weights, folder: Path) -> StaticTable:
        """Raises ModelError for weights without a table."""
        name = next((name for name in _TABLES if name in weights and len(weights.shape(name)) == 2), None)
        if name is None:
            raise ModelError(
                "the weights have no table of token vectors", where=str(folder), hint=ANOTHER_COPY
            )
        rows, width = weights.shape(name)
        tokens = weights.shape(_MAPPING)[0] if _MAPPING in weights else rows
        return cls(weights, name, tokens, width)

    def rows(self, ids: NDArray[np.intp]) -> NDArray[np.float32]:
        """The vectors (tokens, width) of some token ids. Only these are read."""
        places = self.weights.integers(_MAPPING)[ids] if _MAPPING in self.weights else ids
        vectors = self.weights.rows(self.name, places)
        return vectors * self.weights.rows(_WEIGHTS, ids)[:, None] if _WEIGHTS in self.weights else vectors

"""Low-rank updates of a weight, as LoRA and DoRA train them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LowRankUpdate:
    """W + scale·B·A for a weight W (rows, columns), with B (rows, rank) and A (rank, columns): LoRA (Hu et al. 2021,
    arXiv:2106.09685).

    With `lengths` (rows,), each row of the result is then scaled to that Euclidean length: DoRA (Liu et al. 2024,
    arXiv:2402.09353).
    """

    b: Array
    a: Array
    scale: float
    lengths: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the weight."""
        return self.b.shape[0], self.a.shape[1]

    def apply(self, weight: Array, rows: Any = slice(None)) -> Array:
        """The updated `rows` of the weight, given these rows: (..., columns) -> (..., columns)."""
        updated: Array = weight + (self.b[rows] @ self.a) * np.float32(self.scale)
        if self.lengths is not None:
            updated *= (self.lengths[rows] / np.linalg.norm(updated, axis=-1))[..., None]
        return updated

    def bytes(self) -> bytes:
        """All numbers of the update, to distinguish two updates."""
        arrays = [self.b, self.a, *([] if self.lengths is None else [self.lengths])]
        return repr(self.scale).encode() + b"".join(array.tobytes() for array in arrays)

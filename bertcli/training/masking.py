"""Which tokens are masked for a model to predict (Devlin et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import ModelError

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Frame

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Masked:
    """`ids` [rows, length] with tokens masked, their flat `positions` [masked], row by row, and the `targets`
    [masked] that were there."""

    ids: Ints
    positions: Ints
    targets: Ints


@dataclass(frozen=True, slots=True)
class Masking:
    """The share of the tokens to predict (`rate`), and of these the shares that stay as they are (`keep`) or become a
    random token (`swap`), because texts at inference have no masks."""

    rate: float
    keep: float
    swap: float
    mask: int
    vocabulary: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, rate: float, keep: float = 0.0, swap: float = 0.0) -> Masking:
        """Raises ModelError for a tokenizer without a mask token."""
        if tokenizer.mask_id is None:
            raise ModelError("the model has no mask token", hint="take a BERT with its tokenizer")
        return cls(rate, keep, swap, tokenizer.mask_id, len(tokenizer))

    def counts(self, maskable: Flags) -> Ints:
        """How many of the maskable tokens [rows, length] of each row to mask: its share, at least one."""
        there = maskable.sum(1)
        counts: Ints = np.minimum(np.maximum(1, np.round(self.rate * there)), there).astype(np.int64)
        return counts

    def mask_tokens(self, ids: Ints, maskable: Flags, counts: Ints, rng: np.random.Generator) -> Masked:
        """Mask as many maskable tokens of each row of ids [rows, length] as `counts` [rows] says, of which
        there must be so many."""
        order = np.where(maskable, rng.random(ids.shape), 2.0).argsort(1).argsort(1)  # its rank in the row
        positions = np.flatnonzero(order < counts[:, None])
        targets = ids.ravel()[positions]
        fate = rng.random(len(positions))
        shown = np.where(fate < self.keep, targets, self.mask)
        swapped = (fate >= self.keep) & (fate < self.keep + self.swap)
        shown[swapped] = rng.integers(0, self.vocabulary, int(swapped.sum()))
        masked = ids.copy()
        masked.ravel()[positions] = shown
        return Masked(masked, positions, targets)


def inside(lengths: Ints, width: int, frame: Frame) -> Flags:
    """Which of the tokens [rows, width] of single texts of some lengths [rows] are between the special tokens
    of a frame, and not padding."""
    places = np.arange(width)
    flags: Flags = (places >= len(frame.before)) & (places < lengths[:, None] - len(frame.after))
    return flags

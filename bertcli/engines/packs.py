"""Windows that run together, laid end to end as arrays. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.records import Window

    Numbers = NDArray[np.int64]


class Pack:
    """Windows in ascending length; window i takes the rows `starts[i]` to `starts[i] + lengths[i]`."""

    def __init__(self, windows: Sequence[Window]) -> None:
        self.windows = windows
        self.lengths = [len(window) for window in windows]
        self.starts = [0, *accumulate(self.lengths)][:-1]
        self.tokens = sum(self.lengths)

    def __len__(self) -> int:
        return len(self.windows)

    def ids(self) -> Numbers:
        """(tokens,)"""
        return np.fromiter(chain.from_iterable(window.ids for window in self.windows), np.int64, self.tokens)

    def types(self) -> Numbers:
        """Token types: (tokens,)"""
        types = (window.types or [0] * len(window) for window in self.windows)
        return np.fromiter(chain.from_iterable(types), np.int64, self.tokens)

    def positions(self) -> Numbers:
        """The place of each token in its own window: (tokens,)"""
        first: Numbers = np.repeat(self.starts, self.lengths)
        return np.arange(self.tokens) - first

    def batches(self, uneven: float) -> list[tuple[int, int]]:
        """Runs of windows (first, stop) in which the longest is at most the part `uneven` longer than the
        shortest: what runs together where windows must be padded to one length."""
        cuts = [0]
        for number, length in enumerate(self.lengths):
            if length > self.lengths[cuts[-1]] * (1 + uneven):
                cuts.append(number)
        return list(zip(cuts, [*cuts[1:], len(self)], strict=True))

    def mask_rows(self) -> list[int]:
        """The rows whose word is asked for, window after window."""
        starts = zip(self.starts, self.windows, strict=True)
        return [start + position for start, window in starts for position in window.masks]

    @property
    def all_fresh(self) -> bool:
        """Whether no window shares tokens with an earlier one of its record."""
        return all(window.fresh == (0, len(window)) for window in self.windows)

    def fresh_rows(self) -> list[int]:
        """The rows that no earlier window of their record had."""
        starts = zip(self.starts, self.windows, strict=True)
        return [start + position for start, window in starts for position in range(*window.fresh)]

"""Windows that run together, laid end to end as arrays. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.records import Window

    Numbers = NDArray[np.int64]

# Which positions of each window an answer is made from.
Reading = Literal["all", "first", "fresh", "first fresh", "last fresh", "masks"]
ONE_OF_EACH: frozenset[Reading] = frozenset(["first", "first fresh", "last fresh"])
"""Those that are one position of each window, whatever the windows are."""


class PackedBatch:
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

    def positions(self, padding: int | None = None) -> Numbers:
        """The place of each token in its own window: (tokens,)

        With `padding`, the id of a token, positions are numbered as in RoBERTa: that token always has the position
        `padding`, and the positions of the other tokens follow it.
        """
        if padding is None:
            first: Numbers = np.repeat(self.starts, self.lengths)
            return np.arange(self.tokens) - first
        real = self.ids() != padding
        counted = np.cumsum(real)
        before = counted[self.starts] - real[self.starts]
        positions: Numbers = padding + (counted - np.repeat(before, self.lengths)) * real
        return positions

    def groups(self, uneven: float) -> list[tuple[int, int]]:
        """Runs of windows (first, stop) in which the longest is at most the part `uneven` longer than the
        shortest: what runs together where windows must be padded to one length."""
        cuts = [0]
        for number, length in enumerate(self.lengths):
            if length > self.lengths[cuts[-1]] * (1 + uneven):
                cuts.append(number)
        return list(zip(cuts, [*cuts[1:], len(self)], strict=True))

    def read(self, reading: Reading) -> tuple[list[int] | None, list[int]]:
        """The rows that are read, window after window (None: all), and how many they are in each window."""
        positions = [_positions(window, reading) for window in self.windows]
        counts = [len(each) for each in positions]
        if counts == self.lengths and reading not in ONE_OF_EACH:
            return None, counts
        starts = zip(self.starts, positions, strict=True)
        return [start + position for start, each in starts for position in each], counts


def _positions(window: Window, reading: Reading) -> Sequence[int]:
    match reading:
        case "first":
            return range(1)
        case "fresh":
            return range(*window.fresh)
        case "first fresh":
            return range(window.fresh[0], window.fresh[0] + 1)
        case "last fresh":
            return range(window.fresh[1] - 1, window.fresh[1])
        case "masks":
            return window.masks
        case _:
            return range(len(window))

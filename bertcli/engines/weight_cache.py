"""Weights as float32, each read when it is needed and kept when it is needed again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.weights import Weights

_AT_ONCE = 1 << 18  # numbers that stay in a core's cache beside what they are converted from


class WeightCache:
    """The tensors of a checkpoint. May be read in several threads at once.

    All that must be converted has its place in one large piece of memory: from 4 MB on NumPy asks for pages
    of 2 MB, where the kernel would else find, clear and map each 4 KB by itself, which takes longer than all
    the arithmetic of a short text. What is never read is never touched, and takes no memory.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._tensors: dict[str, Array] = {}
        stops = list(accumulate(prod(weights.shape(name)) for name in weights.converted))
        self._buffer = np.empty(stops[-1] if stops else 0, np.float32)
        places = map(slice, [0, *stops[:-1]], stops)
        self._places = dict(zip(weights.converted, places, strict=True))
        self._lock = threading.Lock()
        self._used: set[str] = set()
        self._mine = threading.local()

    def read(self, name: str) -> Array:
        """The tensor, read-only by agreement. Raises ModelError for one the checkpoint does not have."""
        if name not in self._tensors:
            with self._lock:  # or a second thread would write again what the first uses already
                if name not in self._tensors:
                    self._tensors[name] = self._weights.read(name, self._buffer_for(name))
        return self._tensors[name]

    def product(self, x: Array, name: str) -> Array:
        """x·Wᵀ for a weight W (out, in): (…, in) -> (…, out), some rows of W after the other.

        A weight that must be converted is not kept when it is first used: a short run needs it once, and to
        touch memory for all of them may take longer than everything else. WeightCache or not, the same products are
        computed, so that an answer does not depend on what was computed before it.
        """
        if name not in self._places:
            return x @ self.read(name).T
        rows, width = self._weights.shape(name)
        answer = np.empty((*x.shape[:-1], rows), np.float32)
        for part, block in self._blocks(name, rows, max(1, _AT_ONCE // width)):
            answer[..., part] = x @ block.T
        return answer

    def _blocks(self, name: str, rows: int, step: int) -> Iterator[tuple[slice, Array]]:
        parts = [slice(start, min(rows, start + step)) for start in range(0, rows, step)]
        if name in self._used:
            weight = self.read(name)
            yield from ((part, weight[part]) for part in parts)
            return
        self._used.add(name)
        width = self._weights.shape(name)[1]
        for part in parts:
            buffer = self._scratch(step * width)[: (part.stop - part.start) * width]
            yield part, self._weights.read(name, buffer, part)

    def _scratch(self, size: int) -> Array:
        """Memory of this thread that is written again and again."""
        if not hasattr(self._mine, "buffer") or self._mine.buffer.size < size:
            self._mine.buffer = np.empty(size, np.float32)
        buffer: Array = self._mine.buffer
        return buffer

    def _buffer_for(self, name: str) -> Array | None:
        place = self._places.get(name)
        return None if place is None else self._buffer[place]

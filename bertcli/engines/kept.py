"""Weights as float32, each read when it is first needed and kept from then on."""

from __future__ import annotations

import threading
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.weights import Weights


class Kept:
    """The tensors of a checkpoint. May be read in several threads at once.

    All that must be converted has its place in one large piece of memory: from 4 MB on NumPy asks for pages
    of 2 MB, where the kernel would else find, clear and map each 4 KB by itself, which takes longer than all
    the arithmetic of a short text. What is never read is never touched, and takes no memory.
    """

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._tensors: dict[str, Array] = {}
        stops = list(accumulate(prod(weights.shape(name)) for name in weights.converted))
        self._room = np.empty(stops[-1] if stops else 0, np.float32)
        places = map(slice, [0, *stops[:-1]], stops)
        self._places = dict(zip(weights.converted, places, strict=True))
        self._lock = threading.Lock()

    def read(self, name: str) -> Array:
        """The tensor, read-only by agreement. Raises ModelError for one the checkpoint does not have."""
        if name not in self._tensors:
            with self._lock:  # or a second thread would write again what the first uses already
                if name not in self._tensors:
                    self._tensors[name] = self._weights.read(name, self._room_for(name))
        return self._tensors[name]

    def _room_for(self, name: str) -> Array | None:
        place = self._places.get(name)
        return None if place is None else self._room[place]

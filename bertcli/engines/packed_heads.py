"""From hidden states to answers: pooling, ordinary heads, and the named heads of several-skill models.

All of it works on the rows of a batch that the answer reads, and on no others. It is computed in float32,
whatever dtype the encoder computes in: bfloat16 has three digits, too few for a regression or a ranking.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bertcli.engines import Ask, Hidden, MaskLogits, Pooled, SequenceLogits, TokenLogits
from bertcli.engines.linear import linear
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.packed_batch import Reading
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, Kind
    from bertcli.records import Window

# The row that each way of pooling takes; other ways read all fresh ones.
_LABEL_READS = {"first": "cls", "mean": "mean", "each": None}
_READ: Mapping[object, Reading] = {"cls": "first", "first": "first fresh", "last": "last fresh"}


class PackedHeads:
    """The heads of a checkpoint. `load` gets the ordinary head of a kind when it is first asked for: what
    makes logits of hidden states (texts, positions, hidden)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: torch.device,
        load: Callable[[Kind], Callable[[Tensor], Tensor]],
    ) -> None:
        self._checkpoint = checkpoint
        self._device = device
        self._load = load
        self._lock = threading.Lock()
        self._heads: dict[Kind, Callable[[Tensor], Tensor]] = {}
        self._layers: dict[str, Callable[[Tensor], Tensor]] = {}

    def reads(self, ask: Ask) -> Reading:
        """Which positions of each window the answer is made from."""
        match ask:
            case Pooled(mode):
                return _READ.get(mode, "fresh")
            case SequenceLogits(head):
                return "first" if self._pooling(head) == "cls" else "all"
            case MaskLogits():
                return "masks"
            case _:
                return "all"

    def answer(
        self, ask: Ask, states: Tensor, counts: Sequence[int], windows: Sequence[Window]
    ) -> list[Array]:
        """One array a window from the hidden states it reads: (rows, hidden) in float32, `counts` rows for
        each. Raises EngineError for an ask about attention, of which nothing is left (see `eager`)."""
        match ask:
            case Hidden():
                return _split(states, counts)
            case Pooled("weightedmean"):
                return list(_array(weighted_mean(states, counts, [window.before for window in windows])))
            case Pooled(mode):
                return list(_array(_pool(states, counts, mode)))
            case SequenceLogits(head):
                return list(_array(self._classify(head, states, counts)))
            case TokenLogits(head) | MaskLogits(head):
                return _split(self._logits(head, states[None])[0], counts)
            case _:
                raise EngineError("the packed engine does not keep its attention weights")

    def _pooling(self, head: Head) -> str | None:
        """How a label head makes one vector of a text; None if that is its own affair."""
        if head.skill:
            return head.pooling
        description = self._checkpoint.description
        return _LABEL_READS[description.heads.label_reads] if description else None

    def _classify(self, head: Head, states: Tensor, counts: Sequence[int]) -> Tensor:
        """Logits of the classes: (windows, labels)."""
        pooling = self._pooling(head)
        if pooling is None:
            return torch.cat([self._logits(head, text[None]) for text in states.split(list(counts))])
        vectors = _pool(states, counts, pooling)
        if not head.skill:
            return self._logits(head, vectors[:, None])
        if f"heads.{head.name}.dense.weight" in self._checkpoint.weights:
            vectors = torch.tanh(self._linear(head, "dense", vectors))
        return self._linear(head, "classifier", vectors)

    def _logits(self, head: Head, states: Tensor) -> Tensor:
        """What the head makes of hidden states (texts, positions, hidden)."""
        if head.skill:
            return self._linear(head, "classifier", states)
        with self._lock:
            if head.kind not in self._heads:
                self._heads[head.kind] = self._load(head.kind)
        return self._heads[head.kind](states)

    def _linear(self, head: Head, part: str, x: Tensor) -> Tensor:
        """A layer of a named head."""
        name = f"heads.{head.name}.{part}"
        if name not in self._layers:
            self._layers[name] = linear(self._weight(f"{name}.weight"), self._weight(f"{name}.bias"))
        y: Tensor = self._layers[name](x)
        return y

    def _weight(self, name: str) -> Tensor:
        return torch.tensor(self._checkpoint.weights.read(name)).to(self._device, torch.float32)


def _pool(states: Tensor, counts: Sequence[int], mode: object) -> Tensor:
    """One vector a window, (windows, hidden): the mean or maximum of its rows, or its only row."""
    if mode in _READ:
        return states
    return torch.segment_reduce(states, str(mode), lengths=torch.tensor(counts, device=states.device))


def weighted_mean(states: Tensor, counts: Sequence[int], before: Sequence[int]) -> Tensor:
    """The mean of each window's rows, (windows, hidden), weighted by their places in the text: the first row
    of a window has `before` others before it, and the first of a text the weight 1."""
    places = [torch.arange(1, count + 1) + start for count, start in zip(counts, before, strict=True)]
    weights = torch.cat(places).to(states.device, states.dtype)
    lengths = torch.tensor(counts, device=states.device)
    sums = torch.segment_reduce(states * weights[:, None], "sum", lengths=lengths)
    return sums / torch.segment_reduce(weights, "sum", lengths=lengths)[:, None]


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array


def _split(states: Tensor, counts: Sequence[int]) -> list[Array]:
    """(rows, …) of all windows -> one array a window."""
    array, stops = _array(states), np.cumsum(counts)
    return [array[stop - count : stop] for stop, count in zip(stops, counts, strict=True)]

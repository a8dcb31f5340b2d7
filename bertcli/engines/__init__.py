"""Engines turn windows of token ids into numbers. They never see text.

An engine is asked one question (an `Ask`) about a batch of windows and answers with one NumPy float32 array
a window, in the order of the windows. Arrays never share memory that a later call changes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from bertcli.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bertcli.models.heads import Head
    from bertcli.records import Window

    Array = NDArray[np.float32]


PoolingMode = Literal["mean", "cls", "max", "first", "last", "weightedmean"]


@dataclass(frozen=True, slots=True)
class Hidden:
    """Hidden states of every token: (tokens, hidden). Layer 0 is the embeddings, -1 the last layer."""

    layer: int = -1


@dataclass(frozen=True, slots=True)
class Pooled:
    """One vector a window: (hidden,), or several side by side, one a mode.

    `cls` takes position 0, all others read the window's `fresh` positions alone: `first` and `last` take one
    of them, `weightedmean` weighs each by its place in the text, counted from 1.
    """

    mode: PoolingMode | tuple[PoolingMode, ...]
    layer: int = -1

    @property
    def parts(self) -> tuple[Pooled, ...]:
        """An ask for each vector."""
        if isinstance(self.mode, str):
            return (self,)
        return tuple(Pooled(mode, self.layer) for mode in self.mode)


@dataclass(frozen=True, slots=True)
class SequenceLogits:
    """Logits of a sequence-classification head: (labels,)."""

    head: Head


@dataclass(frozen=True, slots=True)
class TokenLogits:
    """Logits of a head that judges every token: (tokens, labels); of a question-answering head (tokens, 2),
    for the first and the last token of the answer."""

    head: Head


@dataclass(frozen=True, slots=True)
class MaskLogits:
    """Masked-LM logits at the window's `masks`, and only there: (masks, vocabulary)."""

    head: Head


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """How much each token (row) attends to each other (column), softmax(QKᵀ/√d): (layers, heads, tokens,
    tokens), of one layer (the first is 1) or of all (None)."""

    layer: int | None = None


@dataclass(frozen=True, slots=True)
class QueriesKeysValues:
    """What the weights are made from and go to, in this order: (layers, 3, heads, tokens, d), of one layer
    (the first is 1) or of all (None)."""

    layer: int | None = None


OfStates = Hidden | Pooled | SequenceLogits | TokenLogits | MaskLogits
OfAttention = AttentionWeights | QueriesKeysValues
Ask = OfStates | OfAttention


class Engine(Protocol):
    """`name`, `device` and `dtype` go into the receipt. `workers` is how many batches may run at once, each in a call
    from a thread of its own; `batch_tokens` is the best number of tokens of a batch. `batch_invariant`: the answer of a
    window is the same to the last bit whatever else is in its batch."""

    name: str
    device: str
    dtype: str
    workers: int
    batch_tokens: int
    batch_invariant: bool

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order. Raises EngineError for an ask the model cannot answer."""
        ...

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """Answer several asks: a list for each, as `forward` gives it. The encoder runs once for all asks of
        the same depth."""
        ...


def depth_of(ask: Ask, layers: int) -> int:
    """How many of a model's encoder layers `ask` needs. Raises EngineError for a layer it does not have."""
    if isinstance(ask, OfAttention):
        return layers if ask.layer is None else ask.layer
    if not isinstance(ask, Hidden | Pooled):
        return layers
    depth = ask.layer if ask.layer >= 0 else layers + 1 + ask.layer
    if not 0 <= depth <= layers:
        raise EngineError(
            f"the model has no layer {ask.layer}",
            hint=f"layers go from 0 (the embeddings) to {layers}, and from -1 back to {-1 - layers}",
        )
    return depth


def lacking(model: str, weights: Sequence[str]) -> EngineError:
    """The error of a model whose file lacks `weights`."""
    others = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
    return EngineError(
        f"{model} lacks weights that its architecture needs: {weights[0]}{others}",
        hint="the model was saved without this head, or the file belongs to another model",
    )


def contradicting(model: str, weight: str, shape: Sequence[int]) -> EngineError:
    """The error of a model that has a weight of another shape than config.json says."""
    return EngineError(
        f"{model}: {weight} has the shape {tuple(shape)}, which contradicts config.json",
        hint="take another copy of the model, or correct config.json",
    )


def more_than_formula(model_type: str) -> EngineError:
    """The error of an architecture whose attention is not explained by queries and keys."""
    return EngineError(
        f"the weights of a {model_type} model are more than softmax(QKᵀ/√d)",
        hint="leave out --show qkv; the weights themselves can be shown",
    )


def available_cores() -> int:
    """The number of CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

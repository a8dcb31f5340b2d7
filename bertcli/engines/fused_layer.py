"""One layer of a described encoder on torch, over a batch as one long sequence (see `fused`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines.attention import attend_once
from bertcli.engines.relative import Relative, Turns

if TYPE_CHECKING:
    from bertcli.engines.attention import Attention


def unchanged(x: Tensor) -> Tensor:
    """The norm of an architecture that has none there."""
    return x


class Norm:
    """Layer normalisation, or that without a mean (`rms`), of `dtype` or of float32, in the dtype that comes in."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, *, eps: float, dtype: torch.dtype, rms: bool = False
    ) -> None:
        kinds = {torch.float32, dtype}
        self._parts = {kind: (weight.to(kind), None if bias is None else bias.to(kind)) for kind in kinds}
        self._eps, self._rms = eps, rms

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self._parts[x.dtype]
        if self._rms:
            scaled: Tensor = functional.rms_norm(x, weight.shape, weight, self._eps)
            return scaled
        normal: Tensor = functional.layer_norm(x, weight.shape, weight, bias, self._eps)
        return normal


@dataclass(frozen=True, slots=True)
class Gated:
    """activation(gate(x)) * up(x)"""

    gate: Any
    up: Any

    def __call__(self, x: Tensor) -> Tensor:
        inner: Tensor = self.gate(x)
        return inner.mul_(self.up(x))


@dataclass(frozen=True, slots=True)
class Turned:
    """Attention with rotary positions."""

    attention: Attention
    turns: Turns


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """One encoder layer over a batch: (tokens, hidden) -> (tokens, hidden)."""

    number: int
    heads: int
    query_key_value: Any
    out: Any
    attention_norm: Callable[[Tensor], Tensor]
    up: Any
    down: Any
    norm: Norm
    norm_first: bool = False
    terms: int = 1
    window: int | None = None
    distances: tuple[Tensor | None, Tensor | None] = (None, None)

    def __call__(
        self,
        x: Tensor,
        attention: Attention | Relative | Turned,
        rows: Tensor | None = None,
        *,
        last: bool = False,
    ) -> Tensor:
        """With `rows`, only these come out, though they attend to all."""
        y = self.attention_norm(x) if self.norm_first else x
        qkv = self.query_key_value(y).view(len(x), 3, self.heads, -1)  # (tokens, 3, heads, width)
        context = self._attend(qkv, attention).flatten(1)  # (tokens, heads * width)
        if rows is not None:
            context, x = context[rows], x[rows]
        return self.after_attention(context, x, last=last)

    def _attend(self, qkv: Tensor, attention: Attention | Relative | Turned) -> Tensor:
        scale = (qkv.shape[-1] * self.terms) ** -0.5
        if isinstance(attention, Relative):
            return attention.attend(qkv, scale, *self.distances)
        if isinstance(attention, Turned):
            attention.turns.turn(self.number, qkv)
            attention = attention.attention
        return attention.attend(qkv, scale, self.window)

    def after_attention(self, context: Tensor, x: Tensor, *, last: bool) -> Tensor:
        """The rest of the layer, which looks at each row by itself: both are (rows, hidden). The hidden
        states of the `last` layer are float32."""
        if self.norm_first:
            x = self.out(context, residual=x)
            inner = self.up(self.norm(x))
            y: Tensor = self.down(inner).float() + x if last else self.down(inner, residual=x)
            return y
        x = self.attention_norm(self.out(context, residual=x))
        if last and x.dtype != torch.float32:
            return self.norm(self.down(self.up(x)).float() + x)
        return self.norm(self.down(self.up(x), residual=x))


@dataclass(frozen=True, slots=True)
class OnceRead:
    """A layer of which one row of each sequence is read: of all others it makes keys and values alone."""

    layer: FusedLayer
    query: Any
    key_value: Any

    def __call__(self, x: Tensor, lengths: Sequence[int], rows: Tensor) -> Tensor:
        """(tokens, hidden) -> (rows, hidden); there may be spare rows behind those of the sequences."""
        sequences, tokens, heads = len(lengths), sum(lengths), self.layer.heads
        read = x[rows]
        query = self.query(read)[:sequences].view(sequences, heads, -1)
        key, value = self.key_value(x)[:tokens].view(tokens, 2, heads, -1).unbind(1)
        context = attend_once(query, key, value, lengths, scale=query.shape[-1] ** -0.5).flatten(1)
        spare = len(read) - sequences
        return self.layer.after_attention(functional.pad(context, (0, 0, 0, spare)), read, last=True)

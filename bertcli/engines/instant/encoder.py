"""An encoder in NumPy, float32, as its description says. Of BERT it is this:

    embed      the sum of what a token is, where it is, and in which of two texts; normalised
    layer      x = norm(x + attend(x)), then x = norm(x + feed_forward(x))
    attend     softmax(QKᵀ/√d)·V in every head, and a last product

    Vaswani et al.: Attention Is All You Need, 2017 (arXiv 1706.03762), section 3
    Devlin, Chang, Lee, Toutanova: BERT, 2018 (arXiv 1810.04805)

Other encoders put the norms first, multiply the feed-forward by a gate, or let attention know positions, which
is described in `positions`. Shapes are written at the line that makes them: n windows of `length` tokens, `hidden`
numbers a token, d numbers a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bertcli.architectures.positions import embedded_positions
from bertcli.engines.instant.arithmetic import ACTIVATIONS, normalise, softmax
from bertcli.engines.instant.positions import Positions
from bertcli.engines.weight_cache import WeightCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.architectures.architecture import Architecture
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window


class LayerAttention(NamedTuple):
    """What happened in the attention of one layer, for n windows of equal length."""

    query: Array  # (n, heads, length, d), as are key and value
    key: Array
    value: Array
    weights: Array  # (n, heads, length, length)


class Encoder:
    def __init__(self, checkpoint: Checkpoint, description: Architecture) -> None:
        self.description = description
        self.prefix = checkpoint.encoder_prefix
        self.heads = checkpoint.attention_heads
        self.layers = checkpoint.layers
        self._places = [self.prefix + place for place in description.places(checkpoint.layers)]
        self._stored = checkpoint.weights
        cache = WeightCache(checkpoint.weights)
        self.read, self.product = cache.read, cache.product

    def encode(
        self, windows: Sequence[Window], depth: int, seen: list[LayerAttention] | None = None
    ) -> Array:
        """Hidden states of windows of equal length after `depth` layers: (n, length, hidden). What attention
        does in each layer is appended to `seen`."""
        x = self._embed(windows)
        positions = Positions(self, x.shape[1], [window.unattended for window in windows])
        for number in range(depth):
            x = self._layer(number, x, positions, seen)
        if depth == self.layers and self.description.last_norm is not None:
            x = self.normalise(self.prefix + self.description.last_norm, x)
        return x

    def _embed(self, windows: Sequence[Window]) -> Array:
        names = self.description.embeddings
        ids = np.array([window.ids for window in windows])  # (n, length)
        x = self._rows(names.words, ids)  # (n, length, width)
        if names.positions is not None:
            x = x + self._rows(names.positions, embedded_positions(ids, names.padding))
        if names.types is not None and f"{self.prefix}{names.types}.weight" in self._stored:
            types = np.array([window.types or [0] * len(window) for window in windows])  # (n, length)
            x = x + self._rows(names.types, types)
        if names.norm is not None and not names.norm_last:
            x = self.normalise(self.prefix + names.norm, x)
        if f"{self.prefix}{names.projection}.weight" in self._stored:
            x = self.linear(self.prefix + names.projection, x, bias=names.projection_bias)
        if names.norm is not None and names.norm_last:
            x = self.normalise(self.prefix + names.norm, x)
        return x  # (n, length, hidden)

    def _layer(self, number: int, x: Array, positions: Positions, seen: list[LayerAttention] | None) -> Array:
        layer, place = self.description.layer, self._places[number]
        if not layer.norm_first:
            x = self.normalise(place + layer.attention_norm, x + self._attend(number, x, positions, seen))
            return self.normalise(place + layer.norm, x + self._feed_forward(place, x))
        normed = number > 0 or layer.first_norm
        y = self.normalise(place + layer.attention_norm, x) if normed else x
        x = x + self._attend(number, y, positions, seen)
        return x + self._feed_forward(place, self.normalise(place + layer.norm, x))

    def _attend(
        self, number: int, x: Array, positions: Positions, seen: list[LayerAttention] | None
    ) -> Array:
        """Multi-head attention: softmax(QKᵀ/√d)·V in every head, heads side by side again at the end."""
        names, place = self.description.layer.attention, self._places[number]
        query, key, value = self._queries_keys_values(place, x)  # (n, heads, length, d) each
        query, key, value = positions.turn(number, query, key, value)
        scaled: Array = query * np.float32((query.shape[-1] * names.terms) ** -0.5)
        scores = scaled @ key.transpose(0, 1, 3, 2)  # (n, heads, length, length)
        scores = positions.add(number, place, scores, scaled, key)
        weights = softmax(scores, out=scores)
        if seen is not None:
            seen.append(LayerAttention(query, key, value, weights))
        context = (weights @ value).transpose(0, 2, 1, 3)  # (n, length, heads, d)
        return self.linear(place + names.out, context.reshape(*x.shape[:2], -1), bias=names.out_bias)

    def _queries_keys_values(self, place: str, x: Array) -> tuple[Array, Array, Array]:
        names = self.description.layer.attention
        if names.fused is None:
            parts = [
                self.linear(place + part, x, bias=names.bias)
                for part in (names.query, names.key, names.value)
            ]
        else:
            y = self.linear(place + names.fused, x, bias=names.bias)  # (n, length, 3 * heads * d)
            if names.by_head:
                y = y.reshape(*x.shape[:2], self.heads, 3, -1).swapaxes(2, 3)  # as if not by head
            parts = list(np.moveaxis(y.reshape(*x.shape[:2], 3, -1), 2, 0))
        for number, bias in ((0, names.query_bias), (2, names.value_bias)):
            if bias is not None:
                parts[number] = parts[number] + self.read(place + bias)
        query, key, value = (
            self._split(part, names.key_heads if number else None) for number, part in enumerate(parts)
        )
        return query, key, value

    def _split(self, x: Array, heads: int | None) -> Array:
        """(n, length, heads * d) -> (n, all heads, length, d): each of fewer heads serves several queries."""
        heads = heads or self.heads
        split = x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)
        return split if heads == self.heads else split.repeat(self.heads // heads, axis=1)

    def _feed_forward(self, place: str, x: Array) -> Array:
        """down(activation(up(x))), or with a gate down(activation(gate(x)) * up(x))."""
        names = self.description.layer.feed_forward
        activation = ACTIVATIONS[names.activation]
        if names.fused is not None:
            halves = np.split(self.linear(place + names.fused, x, bias=names.bias), 2, axis=-1)
            gate, up = halves if names.gate_first else halves[::-1]
            inner = activation(gate) * up
        elif names.gate is not None:
            inner = activation(self.linear(place + names.gate, x, bias=names.bias))
            inner *= self.linear(place + names.up, x, bias=names.bias)
        else:
            inner = activation(self.linear(place + names.up, x, bias=names.bias))  # (n, length, 4 * hidden)
        return self.linear(place + names.down, inner, bias=names.down_bias)

    # The weights

    def linear(self, name: str, x: Array, *, bias: bool = True) -> Array:
        """x·Wᵀ + b"""
        y = self.product(x, f"{name}.weight")
        if bias:
            y += self.read(f"{name}.bias")
        return y

    def normalise(self, name: str, x: Array, *, bias: bool | None = None) -> Array:
        """The norm of that name, with a bias as the description says."""
        description = self.description
        shift = self.read(f"{name}.bias") if (description.norm_bias if bias is None else bias) else None
        return normalise(x, self.read(f"{name}.weight"), shift, description.eps, rms=description.rms)

    def holds(self, name: str) -> bool:
        """Whether the file has a tensor of that name."""
        return name in self._stored

    def _rows(self, table: str, ids: NDArray[np.int64]) -> Array:
        """Rows of a table of the embeddings; the others are not read."""
        return self._stored.rows(f"{self.prefix}{table}.weight", ids)

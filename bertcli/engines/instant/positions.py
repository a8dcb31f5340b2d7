"""What attention knows of positions beyond the embeddings: nothing in BERT, a bias or vectors of distances, angles,
or how far a token may look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertcli.architectures.architecture import Disentangled, RelativeBias, Rotary
from bertcli.architectures.positions import angles, bias_buckets, distance_rows

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.instant.encoder import Encoder


class Positions:
    """Those of windows of `length` tokens, to the last of which no token attends: `unattended` of each window."""

    def __init__(self, encoder: Encoder, length: int, unattended: Sequence[int]) -> None:
        self._unattended = unattended
        self._encoder = encoder
        self._length = length
        self._attention = encoder.description.layer.attention
        self._bias: Array | None = None
        scheme = self._attention.positions
        if isinstance(scheme, RelativeBias):
            table = encoder.read(f"{encoder.prefix}{scheme.table}.weight")  # (buckets, heads)
            self._bias = table[bias_buckets(scheme, length)].transpose(2, 0, 1)  # (heads, length, length)
        elif isinstance(scheme, Disentangled):
            rows = distance_rows(scheme, length)
            first = int(rows.min())  # of a short text, few distances are there
            self._rows = rows - first  # (length, length)
            table = encoder.read(f"{encoder.prefix}{scheme.table}.weight")[first : int(rows.max()) + 1]
            norm = scheme.norm
            self._distances = table if norm is None else encoder.normalise(encoder.prefix + norm, table)

    def turn(self, layer: int, query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
        """Queries, keys and values (n, heads, length, d), turned by rotary positions where there are such."""
        scheme = self._attention.positions
        if not isinstance(scheme, Rotary):
            return query, key, value
        cos, sin = self._angles(scheme, layer, query.shape[-1])  # (length, d / 2) each
        turned = [_turned(x, cos, sin, interleaved=scheme.interleaved) for x in (query, key)]
        last = _turned(value, cos, sin, interleaved=scheme.interleaved) if scheme.values else value
        return turned[0], turned[1], last

    def add(self, layer: int, place: str, scores: Array, query: Array, key: Array) -> Array:
        """The scores (n, heads, length, length) with what positions add to them, in place; -∞ where a token does
        not look. `query` is scaled."""
        scheme = self._attention.positions
        if self._bias is not None:
            scores += self._bias
        elif isinstance(scheme, Disentangled):
            self._add_distances(scheme, place, scores, query, key)
        windows = self._attention.windows
        reach = windows[layer] if windows else None
        if reach is not None and reach < self._length:
            places = np.arange(self._length)
            scores[..., np.abs(places[:, None] - places) >= reach] = -np.inf
        for window, count in enumerate(self._unattended):
            if count:
                scores[window, ..., -count:] = -np.inf
        return scores

    def _angles(self, scheme: Rotary, layer: int, width: int) -> tuple[Array, Array]:
        table = f"{self._encoder.prefix}{scheme.table}.weight"
        if scheme.table is not None and self._encoder.holds(table):
            sin, cos = np.split(self._encoder.read(table)[: self._length], 2, axis=-1)
            return cos, sin
        return angles(scheme.thetas[layer], self._length, width)

    def _add_distances(
        self, scheme: Disentangled, place: str, scores: Array, query: Array, key: Array
    ) -> None:
        """Content to position, Q·(vector of the distance), and position to content, (its query)·K."""
        heads, width = query.shape[1], query.shape[-1]
        tokens = np.arange(self._length)

        def made(layer: str, *, bias: bool) -> Array:
            y = self._encoder.linear(place + layer, self._distances, bias=bias)
            return y.reshape(-1, heads, width).transpose(1, 2, 0)  # (heads, d, distances)

        if scheme.key is not None:
            content = query @ made(scheme.key, bias=scheme.key_bias)  # (n, heads, length, distances)
            scores += content[:, :, tokens[:, None], self._rows]
        if scheme.query is not None:
            scale = np.float32((width * self._attention.terms) ** -0.5)
            content = key @ (made(scheme.query, bias=True) * scale)
            scores += content[:, :, tokens, self._rows]


def _turned(x: Array, cos: Array, sin: Array, *, interleaved: bool) -> Array:
    """Each pair (a, b) of numbers as (a·cos - b·sin, b·cos + a·sin)."""
    turned = np.empty_like(x)
    half = x.shape[-1] // 2
    first, second = (
        (slice(0, None, 2), slice(1, None, 2)) if interleaved else (slice(half), slice(half, None))
    )
    a, b = x[..., first], x[..., second]
    turned[..., first] = a * cos - b * sin
    turned[..., second] = b * cos + a * sin
    return turned

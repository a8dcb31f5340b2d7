"""The weights that an encoder needs, by name, and their shapes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bertcli.architectures.architecture import (
    Architecture,
    Attention,
    Disentangled,
    FeedForward,
    RelativeBias,
)

Tensor = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """`heads` are those of queries in each layer. A token is `hidden` numbers in the layers and `width` in the
    embeddings; `words` and `positions` are the rows of their tables."""

    layers: int
    heads: int
    hidden: int
    width: int
    words: int
    positions: int


def encoder_tensors(architecture: Architecture, sizes: Sizes, prefix: str) -> Iterator[Tensor]:
    """Names and shapes of an encoder's weights, but for those of token types, which may be missing."""
    groups = architecture.layer.groups
    yield from ((prefix + name, shape) for name, shape in _embeddings(architecture, sizes))
    yield from ((prefix + name, shape) for name, shape in _relative(architecture, sizes))
    for number in range(sizes.layers if groups is None else groups):
        place = prefix + architecture.layer.place.format(number)
        normed = number > 0 or architecture.layer.first_norm
        yield from ((place + name, shape) for name, shape in _layer(architecture, sizes, normed=normed))
    if architecture.last_norm is not None:
        yield from _norm(architecture, prefix + architecture.last_norm, sizes.hidden)


def _embeddings(architecture: Architecture, sizes: Sizes) -> Iterator[Tensor]:
    names = architecture.embeddings
    yield f"{names.words}.weight", (sizes.words, sizes.width)
    if names.positions is not None:
        yield f"{names.positions}.weight", (sizes.positions, sizes.width)
    if names.norm is not None:
        yield from _norm(architecture, names.norm, sizes.hidden if names.norm_last else sizes.width)
    if names.always or sizes.width != sizes.hidden:
        yield from _dense(names.projection, sizes.hidden, sizes.width, bias=names.projection_bias)


def _relative(architecture: Architecture, sizes: Sizes) -> Iterator[Tensor]:
    match architecture.layer.attention.positions:
        case RelativeBias(table=table, buckets=buckets):
            yield f"{table}.weight", (buckets, sizes.heads)
        case Disentangled(table=table, span=span, norm=norm):
            yield f"{table}.weight", (2 * span, sizes.hidden)
            if norm is not None:
                yield from _norm(architecture, norm, sizes.hidden)


def _layer(architecture: Architecture, sizes: Sizes, *, normed: bool) -> Iterator[Tensor]:
    layer = architecture.layer
    yield from _attention(layer.attention, sizes)
    if normed:
        yield from _norm(architecture, layer.attention_norm, sizes.hidden)
    yield from _feed_forward(layer.feed_forward, sizes.hidden)
    yield from _norm(architecture, layer.norm, sizes.hidden)


def _attention(names: Attention, sizes: Sizes) -> Iterator[Tensor]:
    hidden = sizes.hidden
    width = names.head_width or hidden // sizes.heads
    queries, keys = sizes.heads * width, (names.key_heads or sizes.heads) * width
    if names.fused is not None:
        yield from _dense(names.fused, queries + 2 * keys, hidden, bias=names.bias)
    else:
        for name, rows in ((names.query, queries), (names.key, keys), (names.value, keys)):
            yield from _dense(name, rows, hidden, bias=names.bias)
    for bias in (names.query_bias, names.value_bias):
        if bias is not None:
            yield bias, (queries,)
    yield from _dense(names.out, hidden, queries, bias=names.out_bias)
    if isinstance(names.positions, Disentangled):
        if names.positions.key not in (None, names.key):
            yield from _dense(names.positions.key or "", queries, hidden, bias=names.positions.key_bias)
        if names.positions.query not in (None, names.query):
            yield from _dense(names.positions.query or "", queries, hidden, bias=True)


def _feed_forward(names: FeedForward, hidden: int) -> Iterator[Tensor]:
    if names.fused is not None:
        yield from _dense(names.fused, 2 * names.width, hidden, bias=names.bias)
    else:
        for name in (names.up, names.gate):
            if name is not None:
                yield from _dense(name, names.width, hidden, bias=names.bias)
    yield from _dense(names.down, hidden, names.width, bias=names.down_bias)


def _dense(name: str, rows: int, columns: int, *, bias: bool) -> Iterator[Tensor]:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def _norm(architecture: Architecture, name: str, width: int) -> Iterator[Tensor]:
    yield f"{name}.weight", (width,)
    if architecture.norm_bias:
        yield f"{name}.bias", (width,)

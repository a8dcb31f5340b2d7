"""The Transformer of Vaswani et al. (2017, arXiv 1706.03762) and its relatives in NumPy, float32: one source sequence,
and the hypotheses of its translation.

    encode     embeddings, then layers of self-attention and feed-forward
    step       one more target token for each hypothesis: self-attention to the target so far, attention to the source,
               feed-forward, and the logits of the token that follows

Shapes: R hypotheses, Q positions that attend, L source positions, T target positions, D numbers a position, H heads of
d numbers, V tokens of the vocabulary. `seq2seq.architecture` describes how the models differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines import contradicting, lacking
from bertcli.engines.instant.arithmetic import ACTIVATIONS, normalise, softmax
from bertcli.engines.seq2seq.positions import computed_positions, distance_buckets
from bertcli.engines.weight_cache import WeightCache

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array
    from bertcli.engines.seq2seq.architecture import Seq2SeqArchitecture, Side
    from bertcli.models.weights import Weights


SIDES: tuple[Side, ...] = ("encoder", "decoder")


@dataclass(slots=True)
class EncodedSource:
    """A source sequence as the decoder sees it: keys and values of every decoder layer, (1, H, L, d) each."""

    keys: list[Array]
    values: list[Array]


class TargetCache:
    """Keys and values of the target so far, of every decoder layer: (R, H, T, d) each."""

    def __init__(self, architecture: Seq2SeqArchitecture) -> None:
        shape = (1, architecture.decoder.heads, 0, architecture.head_width)
        self.layers = [(np.empty(shape, np.float32),) * 2 for _ in range(architecture.decoder.layers)]

    @property
    def length(self) -> int:
        return self.layers[0][0].shape[2]

    def append(self, layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
        """Add a position, (R, H, 1, d), to a layer; the keys and values of all its positions."""
        before = self.layers[layer]
        self.layers[layer] = np.concatenate([before[0], keys], 2), np.concatenate([before[1], values], 2)
        return self.layers[layer]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these hypotheses, in this order."""
        kept = list(rows)
        self.layers = [(keys[kept], values[kept]) for keys, values in self.layers]


class EncoderDecoder:
    """Raises EngineError where a weight is missing or has another shape than config.json says."""

    def __init__(self, name: str, weights: Weights, architecture: Seq2SeqArchitecture) -> None:
        self.architecture = architecture
        self._name, self._stored = name, weights
        cache = WeightCache(weights)
        self._read, self._product = cache.read, cache.product
        names = architecture.names
        self._tables: dict[Side, str] = {
            side: self._first([table.format(side=side) for table in names.tables]) for side in SIDES
        }
        self._output = self._first(["lm_head.weight", self._tables["decoder"]])
        self._check_weights()
        computed = architecture.positions in ("marian", "tensor2tensor") and architecture.position_limit
        self._positions = computed_positions(architecture) if computed else None

    def encode(self, ids: Sequence[int]) -> EncodedSource:
        """Run the encoder over a source sequence, and make the keys and values of it that the decoder attends to."""
        names = self.architecture.names
        x = self._embed("encoder", np.array([ids]), 0)  # (1, L, D)
        bias = self._distances("encoder", len(ids), len(ids))
        for number in range(self.architecture.encoder.layers):
            place = names.layer.format(side="encoder", layer=number) + "."
            own, norm = place + names.self_attention, place + names.self_norm
            y = self._before(norm, x)
            x = self._after(norm, x, self._attend(own, y, *self._keys_values(own, y), bias))
            x = self._feed_forward("encoder", place, x)
        x = self._finish("encoder", x)
        prefix = f"{names.layer}.{names.cross_attention}"
        layers = range(self.architecture.decoder.layers)
        pairs = [self._keys_values(prefix.format(side="decoder", layer=number), x) for number in layers]
        return EncodedSource([keys for keys, _ in pairs], [values for _, values in pairs])

    def step(self, tokens: Sequence[int], target: TargetCache, source: EncodedSource) -> Array:
        """The logits (R, V) behind the next token of each hypothesis; the tokens join the target."""
        names = self.architecture.names
        before = target.length
        x = self._embed("decoder", np.array(tokens)[:, None], before)  # (R, 1, D)
        bias = self._distances("decoder", 1, before + 1)
        for number in range(self.architecture.decoder.layers):
            place = names.layer.format(side="decoder", layer=number) + "."
            own, norm = place + names.self_attention, place + names.self_norm
            y = self._before(norm, x)
            keys, values = target.append(number, *self._keys_values(own, y))
            x = self._after(norm, x, self._attend(own, y, keys, values, bias))
            other, norm = place + names.cross_attention, place + names.cross_norm
            keys, values = source.keys[number], source.values[number]
            x = self._after(norm, x, self._attend(other, self._before(norm, x), keys, values, None))
            x = self._feed_forward("decoder", place, x)
        x = self._finish("decoder", x)[:, 0] * np.float32(self.architecture.logit_scale)
        logits = self._product(x, self._output)
        if "final_logits_bias" in self._stored:
            logits += self._read("final_logits_bias").reshape(-1)
        return logits

    def _check_weights(self) -> None:
        """Compare the shapes in the file with those that the architecture has. No weight is read."""
        architecture = self.architecture
        names, width = architecture.names, architecture.width
        for side in SIDES:
            stack = architecture.stack(side)
            inner = stack.heads * architecture.head_width
            self._check(self._tables[side], None, width)
            if architecture.positions == "learned":
                rows = (architecture.position_limit or 0) + architecture.position_offset
                self._check(names.position_table.format(side=side), rows, width)
            if architecture.positions == "relative":
                self._check(names.relative_bias.format(side=side), architecture.relative_buckets, stack.heads)
            for number in range(stack.layers):
                place = names.layer.format(side=side, layer=number) + "."
                blocks = [names.self_attention, *([names.cross_attention] if side == "decoder" else [])]
                for block in blocks:
                    *projections, out = (f"{place}{block}.{part}.weight" for part in names.projections)
                    for projection in projections:
                        self._check(projection, inner, width)
                    self._check(out, width, inner)
                below, ((first,), second) = place + names.feed_forward[side], names.feed_forward_parts
                for part in (f"{first}_0", f"{first}_1") if architecture.gated else (first,):
                    self._check(f"{below}{part}.weight", None, width)
                self._check(f"{below}{second}.weight", width, None)
        self._check(self._output, None, width)

    def _check(self, name: str, rows: int | None, columns: int | None) -> None:
        """Compare a matrix with what it must be; None is any size."""
        shape = self._stored.shape(self._first([name]))
        fits = len(shape) == 2 and rows in (None, shape[0]) and columns in (None, shape[1])
        if not fits:
            raise contradicting(self._name, name, shape)

    def _embed(self, side: Side, ids: NDArray[np.int64], first: int) -> Array:
        """(R, Q) ids from position `first` on -> (R, Q, D)"""
        architecture = self.architecture
        x = self._stored.rows(self._tables[side], ids) * np.float32(architecture.embedding_scale)
        places = slice(first, first + ids.shape[1])
        stored = architecture.names.position_table.format(side=side)
        if architecture.positions == "learned" or (
            architecture.positions == "marian" and stored in self._stored
        ):
            x += self._read(stored)[architecture.position_offset :][places]
        elif self._positions is not None:
            x += self._positions[places]
        if architecture.embedding_norm:
            x = self._normalise(architecture.names.embedding_norm.format(side=side), x)
        return x

    def _finish(self, side: Side, x: Array) -> Array:
        architecture = self.architecture
        name = architecture.names.final_norm.format(side=side)
        return self._normalise(name, x) if architecture.final_norm else x

    def _distances(self, side: Side, queries: int, keys: int) -> Array | None:
        """T5's bias of the scores of the last `queries` of `keys` positions: (H, queries, keys)."""
        if self.architecture.positions != "relative":
            return None
        table = self._read(self.architecture.names.relative_bias.format(side=side))  # (buckets, H)
        rows = distance_buckets(self.architecture, queries, keys, bidirectional=side == "encoder")
        return table[rows].transpose(2, 0, 1)

    def _before(self, norm: str, x: Array) -> Array:
        """What a sublayer computes from: x itself in the paper's order."""
        return self._normalise(norm, x) if self.architecture.pre_norm else x

    def _after(self, norm: str, x: Array, found: Array) -> Array:
        """x and what a sublayer found: their sum, normalised in the paper's order."""
        return x + found if self.architecture.pre_norm else self._normalise(norm, x + found)

    def _attend(self, place: str, x: Array, keys: Array, values: Array, bias: Array | None) -> Array:
        """softmax(QKᵀ/√d)·V in every head, and the product with the heads side by side: (R, Q, D) -> (R, Q, D)"""
        query, out = (f"{place}.{self.architecture.names.projections[part]}" for part in (0, 3))
        queries = self._heads(self._linear(query, x))
        scores = (
            queries @ keys.swapaxes(2, 3) * np.float32(self.architecture.attention_scale)
        )  # (R, H, Q, keys)
        if bias is not None:
            scores += bias
        context = (softmax(scores, out=scores) @ values).swapaxes(1, 2)  # (R, Q, H, d)
        return self._linear(out, context.reshape(*x.shape[:2], -1))

    def _keys_values(self, place: str, x: Array) -> tuple[Array, Array]:
        """Keys and values of positions (R, Q, D): (R, H, Q, d) each."""
        key, value = (f"{place}.{self.architecture.names.projections[part]}" for part in (1, 2))
        return self._heads(self._linear(key, x)), self._heads(self._linear(value, x))

    def _heads(self, x: Array) -> Array:
        """(R, Q, H·d) -> (R, H, Q, d)"""
        return x.reshape(*x.shape[:2], -1, self.architecture.head_width).swapaxes(1, 2)

    def _feed_forward(self, side: Side, place: str, x: Array) -> Array:
        architecture = self.architecture
        below = place + architecture.names.feed_forward[side]
        (first,), second = architecture.names.feed_forward_parts
        activation = ACTIVATIONS[architecture.activation]
        norm = place + architecture.names.feed_forward_norm[side]
        y = self._before(norm, x)
        if architecture.gated:
            inner = activation(self._linear(f"{below}{first}_0", y)) * self._linear(f"{below}{first}_1", y)
        else:
            inner = activation(self._linear(below + first, y))
        return self._after(norm, x, self._linear(below + second, inner))

    def _linear(self, name: str, x: Array) -> Array:
        """x·Wᵀ + b, where the layer has a bias"""
        y = self._product(x, self._first([f"{name}.weight"]))
        if f"{name}.bias" in self._stored:
            y += self._read(f"{name}.bias")
        return y

    def _normalise(self, name: str, x: Array) -> Array:
        architecture = self.architecture
        shift = None if architecture.rms_norm else self._read(self._first([f"{name}.bias"]))
        scale = self._read(self._first([f"{name}.weight"]))
        return normalise(x, scale, shift, architecture.norm_eps, rms=architecture.rms_norm)

    def _first(self, names: Sequence[str]) -> str:
        """The first of these weights that is there."""
        found = next((name for name in names if name in self._stored), None)
        if found is None:
            raise lacking(self._name, names[:1])
        return found

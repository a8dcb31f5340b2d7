"""The Transformer of Vaswani et al. (2017) and its relatives in torch: encoder, decoder with a cache, projection.

Shapes: N tokens of a batch end to end, S sequences, B beams of each, R = S·B rows of the decoder, L source positions,
T target positions, H heads of width d, D = model width, V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines import contradicting, lacking
from bertcli.engines.linear import linear
from bertcli.engines.seq2seq.positions import computed_positions, distance_buckets

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.seq2seq.architecture import Seq2SeqArchitecture, Side
    from bertcli.models.weights import Weights

CACHE_STEP = 32  # target positions by which the cache grows


@dataclass(frozen=True, slots=True)
class Encoded:
    """Source sequences as the decoder sees them: keys and values of every decoder layer, (S, H, L, d) each, and which
    of the L positions are real, (S, 1, 1, L), None where all are."""

    keys: list[Tensor]
    values: list[Tensor]
    real: Tensor | None

    def select(self, sequences: Tensor) -> Encoded:
        """The sequences of these numbers alone, without positions that are padding in all of them."""
        real = None if self.real is None else self.real[sequences]
        keys, values = [key[sequences] for key in self.keys], [value[sequences] for value in self.values]
        if real is not None:
            length = int(real.sum(-1).max())
            keys, values = [key[:, :, :length] for key in keys], [value[:, :, :length] for value in values]
            real = real[..., :length]
        return Encoded(keys, values, real)


class Cache:
    """Keys and values of the target so far, (layers, 2, R, H, T, d) with room for more positions."""

    def __init__(
        self, layers: int, rows: int, heads: int, width: int, dtype: torch.dtype, device: torch.device
    ):
        self._states = torch.empty((layers, 2, rows, heads, CACHE_STEP, width), dtype=dtype, device=device)
        self.length = 0

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add a position, (R, H, 1, d), to a layer; the keys and values of all positions, (R, H, T, d)."""
        if self.length == self._states.shape[4]:
            self._states = functional.pad(
                self._states, (0, 0, 0, max(1, self.length // 2 // CACHE_STEP) * CACHE_STEP)
            )
        states = self._states[layer]
        states[0, :, :, self.length : self.length + 1] = keys
        states[1, :, :, self.length : self.length + 1] = values
        return states[0, :, :, : self.length + 1], states[1, :, :, : self.length + 1]

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Overwrite the rows `target` with the rows `source`; no row is in both."""
        for rows in self._rows():
            rows.index_copy_(0, target, rows.index_select(0, source))

    def select(self, rows: Tensor) -> None:
        """Keep these rows alone."""
        kept = [each.index_select(0, rows) for each in self._rows()]
        shape = (*self._states.shape[:2], len(rows), *self._states.shape[3:])
        self._states = torch.stack(kept).view(self._states.dtype).view(shape)

    def _rows(self) -> Sequence[Tensor]:
        """The keys and the values of each layer, a row for each hypothesis: whole rows are copied several times as fast
        as parts of them, on a CPU by numbers of eight bytes."""
        rows = self._states.flatten(3)
        if rows.device.type == "cpu":
            rows = rows.view(torch.float64)
        return rows.flatten(0, 1).unbind()


class Transformer:
    """An encoder-decoder from a checkpoint's weights, in `dtype`; logits are float32.

    Raises EngineError where a weight is missing or has another shape than config.json says.
    """

    def __init__(
        self,
        name: str,
        weights: Weights,
        architecture: Seq2SeqArchitecture,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.architecture = architecture
        self.dtype, self.device = dtype, device
        self._reader = _Reader(name, weights, dtype, device)
        self._sides = {side: _Side(self._reader, architecture, side) for side in ("encoder", "decoder")}
        width = architecture.width
        output = self._reader.first(("lm_head.weight", *self._decoder_tables()), (None, width))
        self._projection = linear(output, None, few_rows=True)
        self.vocab_size = len(output)
        bias = self._reader.maybe("final_logits_bias")
        self.logits_bias = None if bias is None else bias.float().flatten()
        self._reader.close()

    def _decoder_tables(self) -> list[str]:
        return [name.format(side="decoder") for name in self.architecture.names.tables]

    def encode(self, sequences: Sequence[Sequence[int]]) -> Encoded:
        """Run the encoder over sequences of token ids, the tokens end to end and padded in attention alone."""
        lengths = [len(sequence) for sequence in sequences]
        ids = torch.tensor([number for sequence in sequences for number in sequence], device=self.device)
        packing = _Packing(lengths, self.device)
        side = self._sides["encoder"]
        x = side.embed(ids, packing.positions)
        bias = side.relative_bias(packing.longest, packing.longest, bidirectional=True)
        mask = packing.mask(bias, self.dtype)
        for layer in side.layers:
            x = layer.attend_self(x, packing, mask)
            x = layer.feed_forward(x)
        x = side.finish(x)
        keys, values = [], []
        for layer in self._sides["decoder"].layers:
            key, value = layer.project_source(x)
            keys.append(packing.pad(key))
            values.append(packing.pad(value))
        return Encoded(keys, values, packing.real)

    def new_cache(self, rows: int) -> Cache:
        architecture = self.architecture
        stack = architecture.decoder
        return Cache(stack.layers, rows, stack.heads, architecture.head_width, self.dtype, self.device)

    def step(
        self, tokens: Tensor, cache: Cache, source: Encoded, trace: list[Tensor] | None = None
    ) -> Tensor:
        """States (R, D) behind the next target tokens (R,), which join the cache; R is a multiple of the sequences.

        `trace` gets what each layer of the first row attends to in the source, the mean over heads: (L,).
        """
        side = self._sides["decoder"]
        place = cache.length
        x = side.embed(tokens, torch.full_like(tokens, place))
        bias = side.relative_bias(1, place + 1, bidirectional=False)
        for number, layer in enumerate(side.layers):
            x = layer.attend_cached(x, cache, number, bias)
            if trace is not None:
                trace.append(layer.source_weights(x, source.keys[number])[0].mean(0)[0])
            x = layer.attend_source(x, source.keys[number], source.values[number], source.real)
            x = layer.feed_forward(x)
        cache.length += 1
        return side.finish(x)

    def logits(self, states: Tensor) -> Tensor:
        """(R, D) -> (R, V) in float32."""
        if self.architecture.logit_scale != 1.0:
            states = states * self.architecture.logit_scale
        found: Tensor = self._projection(states).float()
        return found if self.logits_bias is None else found.add_(self.logits_bias)

    def cross_attention(
        self, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
    ) -> list[Tensor]:
        """For each pair what its target tokens attend to, mean over heads: (layers, target, source) in float32.

        `targets` are the decoder's inputs: position t has the weights with which the token behind it was chosen.
        """
        found = []
        for source, target in zip(sources, targets, strict=True):
            encoded, cache = self.encode([source]), self.new_cache(1)
            steps = []
            for token in target:
                trace: list[Tensor] = []
                self.step(torch.tensor([token], device=self.device), cache, encoded, trace)
                steps.append(torch.stack(trace))
            found.append(torch.stack(steps, 1))
        return found


class _Packing:
    """Sequences end to end, and how they become rows of one length for attention."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.longest = max(lengths)
        self._count = len(lengths)
        counts = torch.tensor(lengths, device=device)
        places = torch.arange(self.longest, device=device)
        real = places < counts[:, None]  # (S, L)
        self.positions = places.expand_as(real)[real]
        self.real: Tensor | None = None
        if min(lengths) < self.longest:
            self.real = real[:, None, None]
            first = counts.cumsum(0) - counts
            self._rows = torch.where(real, first[:, None] + places, 0).flatten()

    def pad(self, packed: Tensor) -> Tensor:
        """(N, H, d) -> (S, H, L, d)"""
        rows = packed if self.real is None else packed[self._rows]
        return rows.view(self._count, self.longest, *packed.shape[1:]).transpose(1, 2)

    def unpad(self, padded: Tensor) -> Tensor:
        """(S, H, L, d) -> (N, H·d)"""
        rows = padded.transpose(1, 2).flatten(2)
        return rows.flatten(0, 1) if self.real is None else rows[self.real[:, 0, 0]]

    def mask(self, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores, or where attention may look: a bias (1, H, L, L), the real positions, both."""
        if bias is None or self.real is None:
            return self.real if bias is None else bias
        return bias.masked_fill(~self.real, -math.inf)


class _Side:
    """An encoder or a decoder: embeddings, layers, and the norm behind the last."""

    def __init__(self, reader: _Reader, architecture: Seq2SeqArchitecture, side: Side) -> None:
        self._architecture = architecture
        names, width = architecture.names, architecture.width
        self._words = reader.first([name.format(side=side) for name in names.tables], (None, width))
        self._positions = _position_table(reader, architecture, side)
        self._embedding_norm = self._final_norm = None
        if architecture.embedding_norm:
            self._embedding_norm = _Norm(reader, architecture, names.embedding_norm.format(side=side))
        if architecture.final_norm:
            self._final_norm = _Norm(reader, architecture, names.final_norm.format(side=side))
        self._relative = None
        if architecture.positions == "relative":
            shape = (architecture.relative_buckets, architecture.stack(side).heads)
            self._relative = reader.read(names.relative_bias.format(side=side), shape)
        numbers = range(architecture.stack(side).layers)
        self.layers = [_Layer(reader, architecture, side, number) for number in numbers]

    def embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        """(N,) ids and their positions -> (N, D)"""
        x = functional.embedding(ids, self._words)
        if self._architecture.embedding_scale != 1.0:
            x = x * self._architecture.embedding_scale
        if self._positions is not None:
            x = x + functional.embedding(positions, self._positions)
        return x if self._embedding_norm is None else self._embedding_norm(x)

    def finish(self, x: Tensor) -> Tensor:
        return x if self._final_norm is None else self._final_norm(x)

    def relative_bias(self, queries: int, keys: int, *, bidirectional: bool) -> Tensor | None:
        """T5's bias of scores for the last `queries` of `keys` positions, (1, H, queries, keys)."""
        if self._relative is None:
            return None
        buckets = distance_buckets(self._architecture, queries, keys, bidirectional=bidirectional)
        places = torch.from_numpy(buckets).to(self._relative.device)
        return functional.embedding(places, self._relative).permute(2, 0, 1)[None]


class _Layer:
    """One layer: self-attention, in a decoder attention to the source, and the feed-forward network."""

    def __init__(self, reader: _Reader, architecture: Seq2SeqArchitecture, side: Side, number: int) -> None:
        names, width = architecture.names, architecture.width
        prefix = names.layer.format(side=side, layer=number) + "."
        self._heads = architecture.stack(side).heads
        self._head_width = architecture.head_width
        self._scale = architecture.attention_scale
        self._pre_norm = architecture.pre_norm
        inner = self._heads * self._head_width
        make = partial(linear, few_rows=side == "decoder")
        query, key, value, out = names.projections

        own = f"{prefix}{names.self_attention}."
        parts = [reader.linear(own + part, inner, width) for part in (query, key, value)]
        self._qkv = make(*_joined(parts))
        self._out = make(*reader.linear(own + out, width, inner))
        self._self_norm = _Norm(reader, architecture, prefix + names.self_norm)
        if side == "decoder":
            cross = f"{prefix}{names.cross_attention}."
            self._source_query = make(*reader.linear(cross + query, inner, width))
            parts = [reader.linear(cross + part, inner, width) for part in (key, value)]
            self._source_kv = linear(*_joined(parts))
            self._source_out = make(*reader.linear(cross + out, width, inner))
            self._source_norm = _Norm(reader, architecture, prefix + names.cross_norm)
        below = prefix + names.feed_forward[side]
        (first,), second = names.feed_forward_parts
        self._up = None
        if architecture.gated:
            self._gate = make(*reader.linear(f"{below}{first}_0", None, width), architecture.activation)
            self._up = make(*reader.linear(f"{below}{first}_1", None, width))
        else:
            self._gate = make(*reader.linear(below + first, None, width), architecture.activation)
        self._down = make(*reader.linear(below + second, width, None))
        self._feed_forward_norm = _Norm(reader, architecture, prefix + names.feed_forward_norm[side])

    def attend_self(self, x: Tensor, packing: _Packing, mask: Tensor | None) -> Tensor:
        """Self-attention of whole sequences: (N, D) -> (N, D)"""
        qkv = self._qkv(self._before(x, self._self_norm)).view(-1, 3, self._heads, self._head_width)
        query, key, value = (packing.pad(part) for part in qkv.unbind(1))
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self._scale)
        return self._after(x, self._out(packing.unpad(found)), self._self_norm)

    def attend_cached(self, x: Tensor, cache: Cache, number: int, bias: Tensor | None) -> Tensor:
        """Self-attention of the newest position of each row: (R, D) -> (R, D)"""
        qkv = self._qkv(self._before(x, self._self_norm)).view(-1, 3, self._heads, 1, self._head_width)
        query, key, value = qkv.unbind(1)
        keys, values = cache.append(number, key, value)
        found = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=bias, scale=self._scale
        )
        return self._after(x, self._out(found.reshape(len(x), -1)), self._self_norm)

    def attend_source(self, x: Tensor, keys: Tensor, values: Tensor, real: Tensor | None) -> Tensor:
        """Attention to the source, which all beams of a sequence share: (R, D) -> (R, D)"""
        query = self._source_queries(x, len(keys))
        found = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=real, scale=self._scale
        )
        joined = found.transpose(1, 2).reshape(len(x), -1)
        return self._after(x, self._source_out(joined), self._source_norm)

    def source_weights(self, x: Tensor, keys: Tensor) -> Tensor:
        """The weights with which `attend_source` looks at a source without padding: (S, H, B, L) in float32."""
        scores = self._source_queries(x, len(keys)).float() @ keys.float().transpose(-1, -2)
        return (scores * self._scale).softmax(-1)

    def project_source(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the encoder's states: (N, D) -> two of (N, H, d)"""
        key, value = self._source_kv(encoded).view(-1, 2, self._heads, self._head_width).unbind(1)
        return key, value

    def feed_forward(self, x: Tensor) -> Tensor:
        before = self._before(x, self._feed_forward_norm)
        inner = self._gate(before)
        if self._up is not None:
            inner = inner * self._up(before)
        return self._after(x, self._down(inner), self._feed_forward_norm)

    def _source_queries(self, x: Tensor, sequences: int) -> Tensor:
        query: Tensor = self._source_query(self._before(x, self._source_norm))
        return query.view(sequences, -1, self._heads, self._head_width).transpose(1, 2)

    def _before(self, x: Tensor, norm: _Norm) -> Tensor:
        return norm(x) if self._pre_norm else x

    def _after(self, x: Tensor, found: Tensor, norm: _Norm) -> Tensor:
        return x + found if self._pre_norm else norm(x + found)


class _Norm:
    """LayerNorm, or RMSNorm."""

    def __init__(self, reader: _Reader, architecture: Seq2SeqArchitecture, name: str) -> None:
        self._shape = (architecture.width,)
        self._eps = architecture.norm_eps
        self._weight = reader.read(f"{name}.weight", self._shape)
        self._bias = None if architecture.rms_norm else reader.read(f"{name}.bias", self._shape)
        self._is_rms = architecture.rms_norm

    def __call__(self, x: Tensor) -> Tensor:
        if self._is_rms:
            return functional.rms_norm(x, self._shape, self._weight, self._eps)
        return functional.layer_norm(x, self._shape, self._weight, self._bias, self._eps)


class _Reader:
    """Reads weights as tensors; one that is read twice is one tensor."""

    def __init__(self, name: str, weights: Weights, dtype: torch.dtype, device: torch.device) -> None:
        self._name, self._weights = name, weights
        self._dtype, self._device = dtype, device
        self._read: dict[str, Tensor] = {}

    def maybe(self, name: str) -> Tensor | None:
        """The weight, None where there is none."""
        if name not in self._weights:
            return None
        if name not in self._read:
            array = self._weights.read(name)
            tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
            self._read[name] = tensor.to(self._device, self._dtype)
        return self._read[name]

    def read(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """The weight; None in `shape` means any size."""
        tensor = self.maybe(name)
        if tensor is None:
            raise lacking(self._name, [name])
        fits = len(shape) == tensor.dim() and all(
            want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            raise contradicting(self._name, name, tuple(tensor.shape))
        return tensor

    def first(self, names: Sequence[str], shape: tuple[int | None, ...]) -> Tensor:
        """The first of these weights that is there."""
        return self.read(next((name for name in names if name in self._weights), names[0]), shape)

    def linear(self, name: str, rows: int | None, columns: int | None) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a linear layer."""
        return self.read(f"{name}.weight", (rows, columns)), self.maybe(f"{name}.bias")

    def place(self, table: Array) -> Tensor:
        """A computed table in the dtype and on the device of the weights."""
        return torch.from_numpy(table).to(self._device, self._dtype)

    def close(self) -> None:
        """Forget the tensors, of which the layers have their own copies."""
        self._read.clear()


def _joined(parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Linear layers of one input as one."""
    biases = [bias for _, bias in parts if bias is not None]
    return torch.cat([weight for weight, _ in parts]), torch.cat(biases) if len(biases) == len(
        parts
    ) else None


def _position_table(reader: _Reader, architecture: Seq2SeqArchitecture, side: Side) -> Tensor | None:
    """One row a position, (positions, D); None where positions are relative."""
    offset, limit = architecture.position_offset, architecture.position_limit
    name = architecture.names.position_table.format(side=side)
    if architecture.positions == "relative" or limit is None:
        return None
    if architecture.positions == "learned":
        return reader.read(name, (None, architecture.width))[offset:]
    stored = reader.maybe(name) if architecture.positions == "marian" else None
    return reader.place(computed_positions(architecture)) if stored is None else stored

"""The Transformer of Vaswani et al. (2017) and its relatives in torch: encoder, decoder with a cache, projection.

Shapes: N tokens of a batch end to end, S sequences, B beams of each, R = S·B rows of the decoder, L source positions,
T target positions, columns of the cache (a position has one for each beam), H heads of width d, D = model width,
V = vocabulary.
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
    """Source sequences as the decoder sees them: keys and values of every decoder layer, (S, L, 2, H, d), and which of
    the L positions are real, (S, 1, 1, L), None where all are."""

    states: list[Tensor]
    real: Tensor | None

    def select(self, sequences: Tensor) -> Encoded:
        """The sequences of these numbers alone, without positions that are padding in all of them."""
        real, states = self.real, [each.index_select(0, sequences) for each in self.states]
        if real is not None:
            real = real.index_select(0, sequences)
            length = int(real.sum(-1).max())
            real, states = real[..., :length], [each[:, :length] for each in states]
        return Encoded(states, real)

    def keys_and_values(self, layer: int) -> tuple[Tensor, Tensor]:
        """Those of a layer, (S, H, L, d) each."""
        keys, values = self.states[layer].transpose(1, 3).unbind(2)
        return keys, values


class Cache:
    """Keys and values of the target so far, of every layer and sequence: (S, columns, 2, H, d), with room for more.

    A position has a column for each beam of its sequence, and columns never move. Which of them are in the past of
    which beam is in a mask, the only thing that changes when hypotheses change places.
    """

    def __init__(
        self, layers: int, sequences: int, heads: int, width: int, dtype: torch.dtype, device: torch.device
    ):
        shape = (sequences, 0, 2, heads, width)
        self._states = [torch.empty(shape, dtype=dtype, device=device) for _ in range(layers)]
        # (S, 1, B, columns): 0, or -inf where a column is not in the past of a beam
        self._past = torch.empty((sequences, 1, 1, 0), dtype=dtype, device=device)
        self._beams: list[int] = []  # at each position

    @property
    def sequences(self) -> int:
        return len(self._past)

    @property
    def length(self) -> int:
        """The number of positions."""
        return len(self._beams)

    def open_position(self, beams: int) -> None:
        """Make room for the next position of so many beams a sequence."""
        own = torch.full((beams, beams), -math.inf, dtype=self._past.dtype, device=self._past.device)
        self._past = torch.cat([self._past, own.fill_diagonal_(0.0).expand(self.sequences, 1, -1, -1)], 3)
        self._beams.append(beams)
        columns, capacity = self._past.shape[3], self._states[0].shape[1]
        if columns > capacity:
            capacity += max(CACHE_STEP * beams, capacity // 2)
            self._states = [_enlarged(each, capacity) for each in self._states]

    def mask(self, bias: Tensor | None) -> Tensor | None:
        """What is added to the scores of attention to all columns, None for nothing. `bias` is that of each position,
        (1, H, 1, T)."""
        if self._past.shape[3] == self.length:  # no position has two beams
            return bias
        if bias is None:
            return self._past
        beams = torch.tensor(self._beams, device=bias.device)
        return self._past + bias.repeat_interleave(beams, -1)

    def append(self, layer: int, states: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values (R, 2, H, d) of the open position to a layer; all of its columns, (S, H, columns, d)."""
        count, _, beams, columns = self._past.shape
        stored = self._states[layer]
        stored[:, columns - beams : columns] = states.view(count, beams, *states.shape[1:])
        keys, values = stored[:, :columns].unbind(2)
        return keys.transpose(1, 2), values.transpose(1, 2)

    def reorder(self, parents: Tensor) -> None:
        """Let each beam of a sequence continue the one with this number, (S, B)."""
        if parents.shape[1] > 1:
            columns = self._past.shape[3]
            self._past = self._past.gather(2, parents[:, None, :, None].expand(-1, -1, -1, columns))

    def select(self, sequences: Tensor) -> None:
        """Keep these sequences alone."""
        self._states = [each.index_select(0, sequences) for each in self._states]
        self._past = self._past.index_select(0, sequences)


def _enlarged(stored: Tensor, columns: int) -> Tensor:
    """A copy of states (S, fewer columns, 2, H, d) with room for so many columns."""
    grown = stored.new_empty((len(stored), columns, *stored.shape[2:]))
    grown[:, : stored.shape[1]] = stored
    return grown


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
        bias = self._reader.maybe("final_logits_bias")
        self._projection = linear(output, None if bias is None else bias.flatten(), few_rows=True)
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
        states = [packing.pad(layer.project_source(x)) for layer in self._sides["decoder"].layers]
        return Encoded(states, packing.real)

    def new_cache(self, sequences: int) -> Cache:
        architecture = self.architecture
        stack = architecture.decoder
        return Cache(stack.layers, sequences, stack.heads, architecture.head_width, self.dtype, self.device)

    def step(
        self, tokens: Tensor, cache: Cache, source: Encoded, trace: list[Tensor] | None = None
    ) -> Tensor:
        """States (R, D) behind the next target tokens (R,), which join the cache; R is a multiple of the sequences of
        the source, and of those of the cache.

        `trace` gets what each layer of the first row attends to in the source, the mean over heads: (L,).
        """
        side = self._sides["decoder"]
        x = side.embed(tokens, torch.full_like(tokens, cache.length))
        cache.open_position(len(tokens) // cache.sequences)
        mask = cache.mask(side.relative_bias(1, cache.length, bidirectional=False))
        for number, layer in enumerate(side.layers):
            x = layer.attend_cached(x, cache, number, mask)
            keys, values = source.keys_and_values(number)
            if trace is not None:
                trace.append(layer.source_weights(x, keys)[0].mean(0)[0])
            x = layer.attend_source(x, keys, values, source.real)
            x = layer.feed_forward(x)
        return side.finish(x)

    def logits(self, states: Tensor) -> Tensor:
        """(R, D) -> (R, V) in float32."""
        if self.architecture.logit_scale != 1.0:
            states = states * self.architecture.logit_scale
        found: Tensor = self._projection(states)
        return found.float()

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
            self._real_rows = real.flatten().nonzero().flatten()

    def pad(self, packed: Tensor) -> Tensor:
        """(N, ...) -> (S, L, ...)"""
        rows = packed if self.real is None else packed.index_select(0, self._rows)
        return rows.view(self._count, self.longest, *packed.shape[1:])

    def unpad(self, padded: Tensor) -> Tensor:
        """(S, H, L, d) -> (N, H·d)"""
        rows = padded.transpose(1, 2).flatten(2).flatten(0, 1)
        return rows if self.real is None else rows.index_select(0, self._real_rows)

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
        qkv = packing.pad(self._qkv(self._before(x, self._self_norm)))
        qkv = qkv.view(*qkv.shape[:2], 3, self._heads, self._head_width)
        query, key, value = qkv.transpose(1, 3).unbind(2)
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=self._scale)
        return self._after(self._out(packing.unpad(found), x), self._self_norm)

    def attend_cached(self, x: Tensor, cache: Cache, number: int, mask: Tensor | None) -> Tensor:
        """Self-attention of the newest position of each row: (R, D) -> (R, D)"""
        qkv = self._qkv(self._before(x, self._self_norm)).view(-1, 3, self._heads, self._head_width)
        keys, values = cache.append(number, qkv[:, 1:])
        query = qkv[:, 0].view(len(keys), -1, self._heads, self._head_width).transpose(1, 2)
        found = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=self._scale
        )
        joined = found.transpose(1, 2).reshape(len(x), -1)
        return self._after(self._out(joined, x), self._self_norm)

    def attend_source(self, x: Tensor, keys: Tensor, values: Tensor, real: Tensor | None) -> Tensor:
        """Attention to the source, which all beams of a sequence share: (R, D) -> (R, D)"""
        query = self._source_queries(x, len(keys))
        found = functional.scaled_dot_product_attention(
            query, keys, values, attn_mask=real, scale=self._scale
        )
        joined = found.transpose(1, 2).reshape(len(x), -1)
        return self._after(self._source_out(joined, x), self._source_norm)

    def source_weights(self, x: Tensor, keys: Tensor) -> Tensor:
        """The weights with which `attend_source` looks at a source without padding: (S, H, B, L) in float32."""
        scores = self._source_queries(x, len(keys)).float() @ keys.float().transpose(-1, -2)
        return (scores * self._scale).softmax(-1)

    def project_source(self, encoded: Tensor) -> Tensor:
        """Keys and values of the encoder's states: (N, D) -> (N, 2, H, d)"""
        found: Tensor = self._source_kv(encoded)
        return found.view(-1, 2, self._heads, self._head_width)

    def feed_forward(self, x: Tensor) -> Tensor:
        before = self._before(x, self._feed_forward_norm)
        inner = self._gate(before)
        if self._up is not None:
            inner = inner * self._up(before)
        return self._after(self._down(inner, x), self._feed_forward_norm)

    def _source_queries(self, x: Tensor, sequences: int) -> Tensor:
        query: Tensor = self._source_query(self._before(x, self._source_norm))
        return query.view(sequences, -1, self._heads, self._head_width).transpose(1, 2)

    def _before(self, x: Tensor, norm: _Norm) -> Tensor:
        return norm(x) if self._pre_norm else x

    def _after(self, x: Tensor, norm: _Norm) -> Tensor:
        return x if self._pre_norm else norm(x)


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

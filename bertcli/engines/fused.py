"""Described architectures on torch, built from the weights of a checkpoint: transformers is not imported, which would
take longer than torch itself.

BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT and ALBERT share one encoder (attention, add, normalise,
feed-forward, add, normalise) under different names, which their descriptions hold. Many small steps run as
few large ones: query, key and value are one matrix product, and on CPU the additions and GELU happen inside
oneDNN's products. `fused_layer` computes one layer; it sees a batch as one long sequence.

The encoder computes in a dtype of choice. The hidden states that leave it are normalised in float32, and the
heads compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bertcli.architectures.architecture import Disentangled, NormStep, RelativeBias, Rotary
from bertcli.engines import lacking
from bertcli.engines.attention import arrange
from bertcli.engines.device import ROUND_ROWS
from bertcli.engines.fused_layer import FusedLayer, Gated, Norm, OnceRead, Turned, unchanged
from bertcli.engines.int8 import DOWN, Excess, Int8Linear, Widened, is_worth_rounding
from bertcli.engines.linear import ACTIVATIONS, linear
from bertcli.engines.relative import Relative, Turns
from bertcli.models.shapes import undescribed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.architectures.architecture import Step
    from bertcli.engines.attention import Attention
    from bertcli.engines.int8 import Observer, Role, Rounding, Roundings
    from bertcli.engines.packed_batch import PackedBatch
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind

    Head = Callable[[Tensor], Tensor]


class FusedModel:
    """A described encoder and its heads, for checkpoints that it `supports`.

    `dtype` is that of the encoder. With `roundings`, if there are any, products of the layers are rounded to whole
    numbers, and what is added and normalised is float32. `observer` is shown what comes into these products.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        *,
        roundings: Roundings | None = None,
        observer: Observer | None = None,
    ) -> None:
        assert checkpoint.description is not None, "supports was not asked"
        self._checkpoint, self._description = checkpoint, checkpoint.description
        self.dtype, self._device = dtype, device
        self._roundings, self._observer = roundings or None, observer
        self._layer_dtype = torch.float32 if roundings else dtype  # of weights before they are rounded
        self._prefix = prefix = checkpoint.encoder_prefix
        names = self._description.embeddings
        self._words = self._tensor(f"{prefix}{names.words}.weight", dtype)
        self._positions = self._optional(names.positions, dtype)
        self._types = self._optional(names.types, dtype)
        self._embedding_norm = self._norm(prefix + names.norm) if names.norm else unchanged
        into = prefix + names.projection
        has_into = f"{into}.weight" in checkpoint.weights
        self._into = self._product(into, bias=names.projection_bias) if has_into else None
        last = self._description.last_norm
        self._last_norm = self._norm(prefix + last) if last else unchanged
        self._scheme = self._description.layer.attention.positions
        table = getattr(self._scheme, "table", None)
        self._table = self._optional(table, torch.float32)
        self._places = [prefix + place for place in self._description.places(checkpoint.layers)]
        numbers = {place: number for number, place in reversed(list(enumerate(self._places)))}
        layers = {
            place: self._layer(place, number) for place, number in numbers.items()
        }  # ALBERT's share weights
        self._layers = [layers[place] for place in self._places]
        self._once_read: dict[int, OnceRead] = {}

    @staticmethod
    def supports(checkpoint: Checkpoint) -> bool:
        """Whether the description is all there is to the checkpoint, with all weights of its encoder in the file."""
        description = checkpoint.description
        return (
            description is not None
            and undescribed(checkpoint) is None
            and description.layer.feed_forward.activation in ACTIVATIONS
        )

    def encode(
        self, batch: PackedBatch, depth: int, rows: Sequence[int] | None, *, one_of_each: bool = False
    ) -> Tensor:
        """float32 hidden states after `depth` layers, in the rows that are read or in all: (rows, hidden).

        `one_of_each` says that rows are one of each window for whatever windows, which saves most of the last layer.
        """
        attention = self._arrange(batch)
        read = self._numbers(np.array(rows)) if rows else None
        # on a CPU alone: it was measured nowhere else
        once = one_of_each and self._device.type == "cpu" and self._description.like_bert
        x = self._embed(
            batch, widen=depth == 0 or self._roundings is not None
        )  # (tokens and spare ones, hidden)
        for number, layer in enumerate(self._layers[:depth], 1):
            if number < depth:
                x = layer(x, attention)
            elif once and read is not None:
                x = self._read_once(depth)(x, batch.lengths, read)
            else:
                x = layer(x, attention, read, last=True)
        if depth == 0 and read is not None:
            x = x[read]
        if depth == len(self._layers):
            x = self._last_norm(x.float())
        return x[: batch.tokens if rows is None else len(rows)]

    def _arrange(self, batch: PackedBatch) -> Attention | Relative | Turned:
        """The attention of a batch, for all of its layers."""
        scheme = self._scheme
        if isinstance(scheme, RelativeBias | Disentangled):
            bias = self._table if isinstance(scheme, RelativeBias) else None
            return Relative(
                scheme, batch.lengths, self._device, None if bias is None else bias.to(self.dtype)
            )
        heads = self._checkpoint.attention_heads
        attention = arrange(batch.lengths, heads, self.dtype, self._device)
        if not isinstance(scheme, Rotary):
            return attention
        width = self._description.layer.attention.head_width or self._checkpoint.hidden_size // heads
        return Turned(attention, Turns(scheme, self._numbers(batch.positions()), width, self._table))

    def head(self, kind: Kind) -> Head:
        """The ordinary head of `kind`: hidden states (texts, positions, hidden) -> logits; those of a label
        head are for each text, those of the others for each position.

        Raises EngineError when weights are missing.
        """
        steps = self._steps(self._description.heads.steps(kind, self._prefix))
        if kind == "label" and self._description.heads.label_reads == "each":
            return lambda states: steps(states).mean(1)
        if kind == "label":
            return lambda states: steps(states[:, 0])
        if kind == "fill":
            project = self._projection()
            return lambda states: project(steps(states))
        return steps

    def _embed(self, batch: PackedBatch, *, widen: bool) -> Tensor:
        """A token's vector: what it is, in which of two texts, and where it is in its own; float32 if they are to
        `widen`."""
        padding = self._description.embeddings.padding
        x = self._words[self._numbers(batch.ids())]
        if self._types is not None:
            x = x + self._types[self._numbers(batch.types())]
        if self._positions is not None:
            x = x + self._positions[self._numbers(batch.positions(padding))]
        if self._into is None:
            return self._embedding_norm(x.float() if widen else x)
        if self._description.embeddings.norm_last:
            return self._embedding_norm(self._into(x).float() if widen else self._into(x))
        projected: Tensor = self._into(self._embedding_norm(x))
        return projected.float() if widen else projected

    def _numbers(self, array: NDArray[np.int64]) -> Tensor:
        """On the device, the last one repeated until their count is round."""
        spare = -len(array) % ROUND_ROWS[self._device.type]
        return torch.from_numpy(np.pad(array, (0, spare), mode="edge")).to(self._device)

    def _layer(self, place: str, number: int) -> FusedLayer:
        layer = self._description.layer
        attention, inner = layer.attention, layer.feed_forward
        normed = number > 0 or layer.first_norm
        windows = attention.windows
        weight, bias = self._query_key_value(place)
        distances = self._distances(place) if isinstance(self._scheme, Disentangled) else (None, None)
        return FusedLayer(
            number=number,
            heads=self._checkpoint.attention_heads,
            query_key_value=self._layer_product(place, "query_key_value", weight, bias),
            out=self._layer_product(
                place, "out", *self._parts(place + attention.out, self._layer_dtype, bias=attention.out_bias)
            ),
            attention_norm=self._norm(place + layer.attention_norm) if normed else unchanged,
            up=self._up(place),
            down=self._layer_product(
                place, "down", *self._parts(place + inner.down, self._layer_dtype, bias=inner.down_bias)
            ),
            norm=self._norm(place + layer.norm),
            norm_first=layer.norm_first,
            terms=attention.terms,
            window=windows[number] if windows else None,
            distances=distances,
        )

    def _query_key_value(self, place: str) -> tuple[Tensor, Tensor | None]:
        """The weight and the bias of all queries, all keys and all values, in this order."""
        names, heads = self._description.layer.attention, self._checkpoint.attention_heads
        if names.fused is None:
            each = [
                self._parts(place + part, self._layer_dtype, bias=names.bias)
                for part in (names.query, names.key, names.value)
            ]
            each[1:] = [self._for_all_heads(*part) for part in each[1:]]
            weight = torch.cat([part[0] for part in each])
            biases = [part[1] for part in each if part[1] is not None]
            return weight, torch.cat(biases) if biases else None
        weight, bias = self._parts(place + names.fused, self.dtype, bias=names.bias)
        if names.by_head:
            weight = weight.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2).contiguous()
        if names.query_bias is not None and names.value_bias is not None:
            query, value = (
                self._tensor(place + name, self.dtype) for name in (names.query_bias, names.value_bias)
            )
            bias = torch.cat([query, torch.zeros_like(query), value])
        return weight, bias

    def _for_all_heads(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A layer of keys or values in which each head that serves several queries is there for each of them."""
        fewer, heads = self._description.layer.attention.key_heads, self._checkpoint.attention_heads
        if fewer in (None, heads):
            return weight, bias

        def repeated(x: Tensor) -> Tensor:
            each: Tensor = x.unflatten(0, (fewer, -1)).repeat_interleave(heads // (fewer or 1), 0)
            return each.flatten(0, 1)

        return repeated(weight), None if bias is None else repeated(bias)

    def _distances(self, place: str) -> tuple[Tensor | None, Tensor | None]:
        """A layer's keys and queries of every distance, scaled as scores are: (heads, distances, width) each."""
        scheme, heads = self._scheme, self._checkpoint.attention_heads
        assert isinstance(scheme, Disentangled)
        assert self._table is not None
        table = self._norm(self._prefix + scheme.norm)(self._table) if scheme.norm else self._table

        def made(name: str | None, bias: bool) -> Tensor | None:
            if name is None:
                return None
            weight, shift = self._parts(place + name, torch.float32, bias=bias)
            found = functional.linear(table, weight, shift).unflatten(-1, (heads, -1)).transpose(0, 1)
            scale = (found.shape[-1] * self._description.layer.attention.terms) ** -0.5
            each: Tensor = (found * scale).to(self.dtype).contiguous()
            return each

        return made(scheme.key, scheme.key_bias), made(scheme.query, True)

    def _up(self, place: str) -> Any:
        """From a token's numbers to those inside the feed-forward."""
        names = self._description.layer.feed_forward
        if not names.gated:
            parts = self._parts(place + names.up, self._layer_dtype, bias=names.bias)
            return self._layer_product(place, "up", *parts, names.activation)
        if names.fused is not None:
            weight, bias = self._parts(place + names.fused, self.dtype, bias=names.bias)
            halves = weight.chunk(2), (None, None) if bias is None else bias.chunk(2)
            order = (0, 1) if names.gate_first else (1, 0)
            gated = [(halves[0][number], halves[1][number]) for number in order]
        else:
            gated = [
                self._parts(place + str(name), self.dtype, bias=names.bias) for name in (names.gate, names.up)
            ]
        gate, up = gated
        return Gated(
            linear(gate[0].contiguous(), gate[1], names.activation),
            linear(up[0].contiguous(), up[1]),
        )

    def _read_once(self, depth: int) -> OnceRead:
        """The layer of that depth for batches of which it is the last, made when the first of them comes."""
        if depth not in self._once_read:
            names, place = self._description.layer.attention, self._places[depth - 1]
            parts = (self._parts(place + name, self._layer_dtype) for name in (names.key, names.value))
            weight, bias = map(torch.cat, zip(*parts, strict=True))
            self._once_read[depth] = OnceRead(
                self._exact(self._layers[depth - 1], place),
                self._exact_product(place + names.query),
                self._layer_product(place, "query_key_value", weight, bias),
            )
        return self._once_read[depth]

    def _exact(self, layer: FusedLayer, place: str) -> FusedLayer:
        """A layer of which few rows are asked, so that it may take the time to round none of them."""
        if self._roundings is None:
            return layer
        attention, inner = self._description.layer.attention, self._description.layer.feed_forward
        return replace(
            layer,
            out=self._exact_product(place + attention.out, bias=attention.out_bias),
            up=self._exact_product(place + inner.up, inner.activation, bias=inner.bias),
            down=self._exact_product(place + inner.down, bias=inner.down_bias),
        )

    def _exact_product(self, name: str, activation: str | None = None, *, bias: bool = True) -> Any:
        parts = self._parts(name, self._layer_dtype, bias=bias)
        if self._roundings is None:
            return linear(*parts, activation)
        return Widened(*parts, activation, self.dtype)

    def _layer_product(
        self, place: str, role: Role, weight: Tensor, bias: Tensor | None, activation: str | None = None
    ) -> Any:
        """A product of the layer at `place`, rounded where there is a rounding for it."""
        name = f"{place}{role}"
        if self._observer is not None and is_worth_rounding(role, weight):
            return self._observer.observe(name, weight, linear(weight, bias, activation))
        if self._roundings is None:
            return linear(weight, bias, activation)
        if name not in self._roundings:
            return Widened(weight, bias, activation, self.dtype)
        rounding = self._roundings[name]
        onto = self._roundings.get(f"{place}{DOWN}") if role == "up" else None
        excess = self._excess(place, rounding, weight) if rounding.outliers else None
        return Int8Linear(weight, bias, activation, rounding, dtype=self.dtype, onto=onto, excess=excess)

    def _excess(self, place: str, rounding: Rounding, down: Tensor) -> Excess:
        """What the outliers of a feed-forward add to what is rounded."""
        inner, outliers = self._description.layer.feed_forward, list(rounding.outliers)
        weight, bias = self._parts(place + inner.up, torch.float32, bias=inner.bias)
        few = weight[outliers], None if bias is None else bias[outliers]
        return Excess(*few, inner.activation, rounding.top, down[:, outliers].contiguous())

    def _steps(self, steps: Sequence[Step]) -> Head:
        """The steps of a head, one after the other, in float32."""
        made = [self._step(step) for step in steps]

        def run(states: Tensor) -> Tensor:
            for step in made:
                states = step(states)
            return states

        return run

    def _step(self, step: Step) -> Any:
        if isinstance(step, NormStep):
            return self._norm(step.name, bias=step.bias)
        return linear(*self._parts(step.name, torch.float32, bias=step.bias), step.activation)

    def _projection(self) -> Head:
        """Onto the vocabulary: by the head's own weight, or by the word embeddings themselves."""
        biases = self._description.heads.projection.biases
        bias = next((name for name in biases if name in self._checkpoint.weights), None)
        name = self._checkpoint.projection
        shared = name == self._checkpoint.word_embeddings and self.dtype == torch.float32
        weight = self._words if shared else self._tensor(name, torch.float32)
        onto: Head = linear(weight, None if bias is None else self._tensor(bias, torch.float32))
        return onto

    def _product(self, name: str, *, bias: bool = True) -> Any:
        return linear(*self._parts(name, self.dtype, bias=bias))

    def _norm(self, name: str, *, bias: bool | None = None) -> Norm:
        description = self._description
        has_bias = description.norm_bias if bias is None else bias
        weight, shift = self._parts(name, torch.float32, bias=has_bias)
        return Norm(weight, shift, eps=description.eps, dtype=self.dtype, rms=description.rms)

    def _parts(self, name: str, dtype: torch.dtype, *, bias: bool = True) -> tuple[Tensor, Tensor | None]:
        return self._tensor(f"{name}.weight", dtype), self._tensor(f"{name}.bias", dtype) if bias else None

    def _optional(self, table: str | None, dtype: torch.dtype) -> Tensor | None:
        """A table of the encoder, None where there is none."""
        name = f"{self._prefix}{table}.weight"
        return self._tensor(name, dtype) if table is not None and name in self._checkpoint.weights else None

    def _tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        if name not in self._checkpoint.weights:
            raise lacking(self._checkpoint.name, [name])
        return torch.tensor(self._checkpoint.weights.read(name)).to(self._device, dtype)

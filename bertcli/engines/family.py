"""The BERT family on torch, built from the weights of a checkpoint: transformers is not imported, which would
take longer than torch itself.

BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT and ALBERT share one encoder (attention, add, normalise,
feed-forward, add, normalise) under different names, which their descriptions hold. Many small steps run as
few large ones: query, key and value are one matrix product, and on CPU the additions and GELU happen inside
oneDNN's products. A layer sees a pack as one long sequence.

The encoder computes in a dtype of choice. The hidden states that leave it are normalised in float32, and the
heads compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bertcli.architectures.architecture import Norm as Normalisation
from bertcli.engines import lacking
from bertcli.engines.attention import arrange, attend_once
from bertcli.engines.device import ROUND_ROWS
from bertcli.engines.linear import ACTIVATIONS, linear
from bertcli.models.shapes import undescribed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.architectures.architecture import Step
    from bertcli.engines.attention import Attention
    from bertcli.engines.packs import Pack
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind

    Head = Callable[[Tensor], Tensor]


class Family:
    """An encoder of the BERT family and its heads, for checkpoints that it `supports`.

    `dtype` is that of the encoder; with `int8`, of all of the encoder but the products of the layers.
    """

    def __init__(
        self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, *, int8: bool = False
    ) -> None:
        assert checkpoint.description is not None, "supports was not asked"
        self._checkpoint, self._description = checkpoint, checkpoint.description
        self.dtype, self._device, self._int8 = dtype, device, int8
        self._prefix = prefix = checkpoint.encoder_prefix
        names = self._description.embeddings
        self._words = self._tensor(f"{prefix}{names.words}.weight", dtype)
        self._positions = self._tensor(f"{prefix}{names.positions}.weight", dtype)
        types = f"{prefix}{names.types}.weight"
        self._types = self._tensor(types, dtype) if types in checkpoint.weights else None
        self._embedding_norm = self._norm(f"{prefix}{names.norm}")
        into = prefix + names.projection
        self._into = self._product(into) if f"{into}.weight" in checkpoint.weights else None
        self._places = [prefix + place for place in self._description.places(checkpoint.layers)]
        layers = {place: self._layer(place) for place in set(self._places)}  # ALBERT's share weights
        self._layers = [layers[place] for place in self._places]
        self._once_read: dict[int, OnceRead] = {}

    @staticmethod
    def supports(checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint is of the family in every respect, with all weights of its encoder."""
        description = checkpoint.description
        return (
            description is not None
            and undescribed(checkpoint) is None
            and description.like_bert
            and description.layer.feed_forward.activation in ACTIVATIONS
        )

    def encode(self, pack: Pack, depth: int, rows: Sequence[int] | None) -> Tensor:
        """float32 hidden states after `depth` layers, in the rows that are read or in all: (rows, hidden)."""
        attention = arrange(pack.lengths, self._checkpoint.attention_heads, self.dtype, self._device)
        read = self._numbers(np.array(rows)) if rows else None
        # on a CPU alone: nowhere else has anybody seen whether it is faster
        once = self._device.type == "cpu" and rows is not None and pack.has_one_in_each(rows)
        x = self._embed(pack, last=depth == 0)  # (tokens and spare ones, hidden)
        for number, layer in enumerate(self._layers[:depth], 1):
            if number < depth:
                x = layer(x, attention)
            elif once and read is not None:
                x = self._read_once(depth)(x, pack.lengths, read)
            else:
                x = layer(x, attention, read, last=True)
        if depth == 0 and read is not None:
            x = x[read]
        return x[: pack.tokens if rows is None else len(rows)]

    def head(self, kind: Kind) -> Head:
        """The ordinary head of `kind`: hidden states (texts, positions, hidden) -> logits; those of a label
        head are for each text, those of the others for each position.

        Raises EngineError when weights are missing.
        """
        steps = self._steps(self._description.heads.steps(kind, self._prefix))
        if kind == "label":
            return lambda states: steps(states[:, 0])
        if kind == "fill":
            project = self._projection()
            return lambda states: project(steps(states))
        return steps

    def _embed(self, pack: Pack, *, last: bool) -> Tensor:
        """A token's vector: what it is, in which of two texts, and where it stands in its own. Those that
        are `last`, with no layer after them, are float32."""
        padding = self._description.embeddings.padding
        x = self._words[self._numbers(pack.ids())]
        if self._types is not None:
            x = x + self._types[self._numbers(pack.types())]
        x = x + self._positions[self._numbers(pack.positions(padding))]
        if self._into is not None:
            projected: Tensor = self._into(self._embedding_norm(x))
            return projected.float() if last else projected
        return self._embedding_norm(x.float() if last else x)

    def _numbers(self, array: NDArray[np.int64]) -> Tensor:
        """On the device, the last one repeated until their count is round."""
        spare = -len(array) % ROUND_ROWS[self._device.type]
        return torch.from_numpy(np.pad(array, (0, spare), mode="edge")).to(self._device)

    def _layer(self, place: str) -> Layer:
        layer = self._description.layer
        attention, inner = layer.attention, layer.feed_forward
        return Layer(
            heads=self._checkpoint.attention_heads,
            query_key_value=self._products(place, attention.query, attention.key, attention.value),
            out=self._product(place + attention.out, int8=self._int8),
            attention_norm=self._norm(place + layer.attention_norm),
            up=self._product(place + inner.up, inner.activation, int8=self._int8),
            down=self._product(place + inner.down, int8=self._int8),
            norm=self._norm(place + layer.norm),
        )

    def _read_once(self, depth: int) -> OnceRead:
        """The layer of that depth for packs of which it is the last, made when the first of them comes."""
        if depth not in self._once_read:
            names, place = self._description.layer.attention, self._places[depth - 1]
            self._once_read[depth] = OnceRead(
                self._layers[depth - 1],
                self._products(place, names.query),
                self._products(place, names.key, names.value),
            )
        return self._once_read[depth]

    def _products(self, place: str, *names: str) -> Any:
        """Several products of a layer as one, their outputs side by side."""
        parts = (self._parts(place + name, self.dtype) for name in names)
        weight, bias = map(torch.cat, zip(*parts, strict=True))
        return linear(weight, bias, int8=self._int8)

    def _steps(self, steps: Sequence[Step]) -> Head:
        """The steps of a head, one after the other, in float32."""
        made = [self._step(step) for step in steps]

        def run(states: Tensor) -> Tensor:
            for step in made:
                states = step(states)
            return states

        return run

    def _step(self, step: Step) -> Any:
        if isinstance(step, Normalisation):
            return self._norm(step.name)
        return linear(*self._parts(step.name, torch.float32), step.activation)

    def _projection(self) -> Head:
        """Onto the vocabulary: by the head's own weight, or by the word embeddings themselves."""
        biases = self._description.heads.projection.biases
        bias = next((name for name in biases if name in self._checkpoint.weights), biases[0])
        name = self._checkpoint.projection
        shared = name == self._checkpoint.word_embeddings and self.dtype == torch.float32
        weight = self._words if shared else self._tensor(name, torch.float32)
        onto: Head = linear(weight, self._tensor(bias, torch.float32))
        return onto

    def _product(self, name: str, activation: str | None = None, *, int8: bool = False) -> Any:
        return linear(*self._parts(name, self.dtype), activation, int8=int8)

    def _norm(self, name: str) -> Norm:
        return Norm(*self._parts(name, torch.float32), eps=self._description.eps, dtype=self.dtype)

    def _parts(self, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return self._tensor(f"{name}.weight", dtype), self._tensor(f"{name}.bias", dtype)

    def _tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        if name not in self._checkpoint.weights:
            raise lacking(self._checkpoint.name, [name])
        return torch.tensor(self._checkpoint.weights.read(name)).to(self._device, dtype)


class Norm:
    """Layer normalisation of `dtype` or of float32, in the dtype that comes in."""

    def __init__(self, weight: Tensor, bias: Tensor, *, eps: float, dtype: torch.dtype) -> None:
        self._parts = {kind: (weight.to(kind), bias.to(kind)) for kind in {torch.float32, dtype}}
        self._eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self._parts[x.dtype]
        return functional.layer_norm(x, weight.shape, weight, bias, self._eps)


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoder layer over a pack: (tokens, hidden) -> (tokens, hidden)."""

    heads: int
    query_key_value: Any
    out: Any
    attention_norm: Norm
    up: Any
    down: Any
    norm: Norm

    def __call__(
        self, x: Tensor, attention: Attention, rows: Tensor | None = None, *, last: bool = False
    ) -> Tensor:
        """With `rows`, only these come out, though they have looked at all."""
        qkv = self.query_key_value(x).view(len(x), 3, self.heads, -1)  # (tokens, 3, heads, width)
        context = attention.attend(qkv, scale=qkv.shape[-1] ** -0.5).flatten(1)  # (tokens, hidden)
        if rows is not None:
            context, x = context[rows], x[rows]
        return self.after_attention(context, x, last=last)

    def after_attention(self, context: Tensor, x: Tensor, *, last: bool) -> Tensor:
        """The rest of the layer, which looks at each row by itself: both are (rows, hidden). The hidden
        states of the `last` layer are float32."""
        x = self.attention_norm(self.out(context, residual=x))
        if last and x.dtype != torch.float32:
            return self.norm(self.down(self.up(x)).float() + x)
        return self.norm(self.down(self.up(x), residual=x))


@dataclass(frozen=True, slots=True)
class OnceRead:
    """A layer of which one row of each sequence is read: of all others it makes keys and values alone."""

    layer: Layer
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

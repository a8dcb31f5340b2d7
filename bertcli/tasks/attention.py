"""attention: how much each token of a text looks at each other, in one head, on average, or in all layers.

In every head of every layer a token has a query q, a key k and a value v. It looks at token j with the weight

    w = softmax(q·k₁/√d, …, q·kₙ/√d)ⱼ

and takes Σ wⱼ·vⱼ with it. A row of weights sums to 1. Layers and heads count from 1.

Attention rollout (Abnar, Zuidema: Quantifying Attention Flow in Transformers, 2020, arXiv 2005.00928) follows
what a token took with it down to the words: half of a layer's output is the residual, half comes from
attention, so that with the mean W of a layer's heads

    rollout(0) = I        rollout(l) = (W(l)/2 + I/2) · rollout(l - 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bertcli.engines import AttentionWeights, QueriesKeysValues
from bertcli.errors import UsageError
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.windowing import Windowing

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions

Which = int | Literal["mean", "all"]
"""One layer or head (from 1, or back from -1), the mean over them, or each of them."""

ROLLOUT = "rollout"  # the head in the record of a rollout
PARTS = ("query", "key", "value")


class Inside(NamedTuple):
    """What an engine computes for a window: `weights` (layers, heads, tokens, tokens) and, where they are asked
    for, queries, keys and values `parts` (layers, 3, heads, tokens, d)."""

    weights: Array
    parts: Array | None


class Attention(Task):
    """The attention in one window of a text or a pair; `long` says whether a longer one is cut or an error.

    `layer` and `head` choose among the weights, `rollout` takes the place of a head, `parts` adds the
    queries, keys and values. `whole` gives all weights of all layers at once, for a page to choose from.
    Raises UsageError for a layer or a head that the model does not have.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        long: LongOptions,
        *,
        layer: Which = -1,
        head: Which = "mean",
        rollout: bool = False,
        parts: bool = False,
        whole: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._name = checkpoint.name
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self._layer = counted(layer, checkpoint.layers, "layer", checkpoint.name)
        self._head = counted(head, checkpoint.attention_heads, "head", checkpoint.name)
        self._rollout, self._parts, self._whole = rollout, parts, whole
        self._asked = None if whole or rollout or isinstance(self._layer, str) else self._layer
        shown = ("model", "rollout") if whole else ("layer", "head")
        self.fields = (*shown, "tokens", "attention", *(PARTS if parts else ()))

    def encode(self, record: Record) -> EncodedRecord:
        first = self._tokenizer.encode(record.text or "", mask=True)
        if record.pair is None:
            encoded = self._windowing.single(first)
            second = None
        else:
            second = self._tokenizer.encode(record.pair, mask=True)
            encoded = self._windowing.pair(first, second)
        return EncodedRecord(encoded.windows, encoded.truncated, (first, second))

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Inside]:
        weights = engine.forward(windows, AttentionWeights(self._asked))
        if not self._parts:
            return [Inside(each, None) for each in weights]
        parts = engine.forward(windows, QueriesKeysValues(self._asked))
        return [Inside(*each) for each in zip(weights, parts, strict=True)]

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Inside]) -> Mapping[str, Any]:
        (window,), (inside,) = encoded.windows, outputs
        values: dict[str, Any] = {}
        if self._whole:
            values |= {"model": self._name, "rollout": rollout(inside.weights)}
        else:
            values |= {"layer": self._layer, "head": ROLLOUT if self._rollout else self._head}
        values["tokens"] = self._described(window, *encoded.notes)
        values["attention"] = inside.weights if self._whole else self._chosen(inside.weights)
        if inside.parts is not None:
            values |= zip(PARTS, self._chosen_parts(inside.parts), strict=True)
        return values

    def _described(self, window: Window, first: Tokens, second: Tokens | None) -> list[dict[str, Any]]:
        """Each token with its place in the text (`part` 1) or its pair (2); special ones have none."""
        counts = [len(first.ids), 0 if second is None else len(second.ids)]
        if second is not None:
            counts = list(self._windowing.pair_stays(*counts))
        elif len(window) < counts[0] + len(self._tokenizer.frame(False)):
            counts[0] = self._windowing.capacity
        frame = self._tokenizer.frame(second is not None)
        starts = [len(frame.before), len(frame.before) + counts[0] + len(frame.between)]
        described: list[dict[str, Any]] = [
            {"token": self._tokenizer.piece(token), "part": None, "start": None, "end": None}
            for token in window.ids
        ]
        for part, (tokens, start, count) in enumerate(zip((first, second), starts, counts, strict=True), 1):
            offsets = () if tokens is None else tokens.offsets[self._windowing.stays(len(tokens), count)]
            for place, (begin, end) in enumerate(offsets, start):
                described[place] |= {"part": part, "start": begin, "end": end}
        return described

    def _chosen(self, weights: Array) -> Array:
        """What is asked for of (layers, heads, tokens, tokens): one map, or several where all are."""
        maps = rollout(weights)[:, None] if self._rollout else weights
        maps = picked(maps, "mean" if self._rollout else self._head, axis=1)
        layer = self._layer if self._asked is None else 1
        return np.ascontiguousarray(picked(maps, layer, axis=0))

    def _chosen_parts(self, parts: Array) -> list[Array]:
        """Queries, keys and values of the layers and heads asked for."""
        if self._whole:
            return [np.ascontiguousarray(parts[:, number]) for number in range(len(PARTS))]
        layer = self._layer if self._asked is None else 1
        chosen = picked(picked(parts, self._head, axis=2), layer, axis=0)
        axis = 1 if layer == "all" else 0
        return [np.ascontiguousarray(chosen.take(number, axis=axis)) for number in range(len(PARTS))]


def rollout(weights: Array) -> Array:
    """(layers, heads, tokens, tokens) -> (layers, tokens, tokens): of how much of each word a token is made
    behind each layer."""
    mean = weights.mean(axis=1)
    step = (mean + np.eye(mean.shape[-1], dtype=mean.dtype)) / 2
    step /= step.sum(axis=-1, keepdims=True)
    flow = [step[0]]
    for layer in step[1:]:
        flow.append(layer @ flow[-1])
    return np.stack(flow)


def picked(array: Array, which: Which, axis: int) -> Array:
    """One layer or head along an axis, their mean, or the array as it is."""
    if which == "all":
        return array
    if which == "mean":
        mean: Array = array.mean(axis=axis)
        return mean
    one: Array = np.moveaxis(array, axis, 0)[which - 1]
    return one


def counted(which: Which, count: int, noun: str, model: str) -> Which:
    """A layer or head counted from 1, when it is one of `count`."""
    if isinstance(which, str):
        return which
    if not 1 <= abs(which) <= count:
        raise UsageError(
            f"{model} has no {noun} {which}", hint=f"they go from 1 to {count}, or from -1 back to {-count}"
        )
    return which if which > 0 else count + 1 + which

"""BERT in NumPy: the whole encoder and its heads on a page, in float32, without torch.

    Devlin, Chang, Lee, Toutanova: BERT, 2018 (arXiv 1810.04805)
    Vaswani et al.: Attention Is All You Need, 2017 (arXiv 1706.03762), section 3

Shapes are written at the line that makes them: n windows of `length` tokens, `hidden` numbers a token.
Handles `model_type: bert` with absolute positions. Windows of equal length run together, so that nothing is
ever padded. Weights are read when they are needed, and of the embeddings only the rows in use: a short
question is answered before torch would have been imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bertcli.engines import (
    Ask,
    AttentionWeights,
    Hidden,
    MaskLogits,
    OfAttention,
    OfStates,
    Pooled,
    SequenceLogits,
    TokenLogits,
    available_cores,
    depth_of,
)
from bertcli.engines.kept import Kept
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.records import Window

BATCH_TOKENS = 512  # activations of more would not stay in a core's cache


class Seen(NamedTuple):
    """What happened in the attention of one layer, for n windows of equal length."""

    query: Array  # (n, heads, length, d), as are key and value
    key: Array
    value: Array
    weights: Array  # (n, heads, length, length)


class Instant:
    """The engine for little input. Raises EngineError for a checkpoint that `supports` speaks against.

    `threads` is the number of CPU cores to use, None for all that this process may run on; `batch_tokens` the
    size of a pack.
    """

    name = "instant"
    device = "cpu"
    dtype = "float32"
    steady = False  # a BLAS may add up in another order for another number of rows

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, batch_tokens: int | None = None
    ) -> None:
        reason = self.supports(checkpoint)
        if reason is not None:
            raise EngineError(
                f"the instant engine cannot run {checkpoint.name}: {reason}", hint="use --engine packed"
            )
        self.workers = threads or available_cores()
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self._checkpoint = checkpoint
        self._prefix = checkpoint.encoder_prefix
        self._eps = np.float32(checkpoint.config.get("layer_norm_eps", 1e-12))
        self._activation = ACTIVATIONS[checkpoint.config.get("hidden_act", "gelu")]
        kept = Kept(checkpoint.weights)
        self._read, self._product = kept.read, kept.product

    @staticmethod
    def supports(checkpoint: Checkpoint) -> str | None:
        """Why this engine cannot run the checkpoint, or None."""
        config = checkpoint.config
        if checkpoint.model_type != "bert":
            return f"it is a {checkpoint.model_type} model, not BERT"
        if config.get("is_decoder") or config.get("add_cross_attention"):
            return "it is a decoder"
        if config.get("position_embedding_type", "absolute") != "absolute":
            return "its positions are relative"
        if config.get("hidden_act", "gelu") not in ACTIVATIONS:
            return f"its activation is {config['hidden_act']}"
        return "its weights are a pickle" if checkpoint.weights.pickle else None

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order."""
        return self.forward_all(windows, [ask])[0]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """Answer several asks for each window, with one pass of the encoder for each depth."""
        depths = [depth_of(ask, self._checkpoint.layers) for ask in asks]
        answers: list[dict[int, Array]] = [{} for _ in asks]
        for length in sorted({len(window) for window in windows}):
            same = [number for number, window in enumerate(windows) if len(window) == length]
            group = [windows[number] for number in same]
            for depth in set(depths):
                seen: list[Seen] = []
                states = self._encode(group, depth, seen if _tells(asks) else None)  # (n, length, hidden)
                for ask, each, found in zip(asks, depths, answers, strict=True):
                    if each == depth:
                        found |= zip(same, self._answers(ask, states, seen, group), strict=True)
        return [[found[number] for number in range(len(windows))] for found in answers]

    # The encoder

    def _encode(self, windows: Sequence[Window], depth: int, seen: list[Seen] | None = None) -> Array:
        """Hidden states after `depth` layers: (n, length, hidden). What attention does in each layer is added
        to `seen`."""
        x = self._embed(windows)
        for layer in range(depth):
            name = f"{self._prefix}encoder.layer.{layer}."
            context = self._attend(name + "attention.self.", x, seen)
            attended = self._linear(name + "attention.output.dense", context)
            x = self._normalise(name + "attention.output.LayerNorm", attended + x)
            inner = self._activation(self._linear(name + "intermediate.dense", x))  # (n, length, 4 * hidden)
            x = self._normalise(name + "output.LayerNorm", self._linear(name + "output.dense", inner) + x)
        return x

    def _embed(self, windows: Sequence[Window]) -> Array:
        """A token's vector: what it is, where it stands, and in which of two texts."""
        ids = np.array([window.ids for window in windows])  # (n, length)
        types = np.array([window.types or [0] * len(window) for window in windows])  # (n, length)
        positions = np.arange(ids.shape[1])
        table = f"{self._prefix}embeddings.{{}}_embeddings.weight".format
        rows = self._checkpoint.weights.rows
        x = rows(table("word"), ids) + rows(table("position"), positions) + rows(table("token_type"), types)
        return self._normalise(f"{self._prefix}embeddings.LayerNorm", x)  # (n, length, hidden)

    def _attend(self, name: str, x: Array, seen: list[Seen] | None = None) -> Array:
        """Multi-head attention: softmax(QKᵀ/√d)·V in every head, heads side by side again at the end."""
        n, length, hidden = x.shape
        heads = self._checkpoint.attention_heads

        def split(part: str) -> Array:
            y = self._linear(name + part, x).reshape(n, length, heads, hidden // heads)
            return y.transpose(0, 2, 1, 3)  # (n, heads, length, d)

        query, key, value = split("query"), split("key"), split("value")
        scaled: Array = query * np.float32((hidden // heads) ** -0.5)
        weights = softmax(scaled @ key.transpose(0, 1, 3, 2))  # (n, heads, length, length)
        if seen is not None:
            seen.append(Seen(query, key, value, weights))
        return (weights @ value).transpose(0, 2, 1, 3).reshape(n, length, hidden)

    def _answers(
        self, ask: Ask, states: Array, seen: Sequence[Seen], windows: Sequence[Window]
    ) -> list[Array]:
        """What is asked for of each of n windows: from their hidden states (n, length, hidden), or from what
        was seen of attention."""
        if not isinstance(ask, OfAttention):
            return [self._answer(ask, *each) for each in zip(states, windows, strict=True)]
        layers = seen if ask.layer is None else seen[-1:]
        if isinstance(ask, AttentionWeights):
            return [np.stack([layer.weights[n] for layer in layers]) for n in range(len(windows))]
        return [np.stack([[part[n] for part in layer[:3]] for layer in layers]) for n in range(len(windows))]

    # The heads, each for one window: states (length, hidden)

    def _answer(self, ask: OfStates, states: Array, window: Window) -> Array:
        match ask:
            case Hidden():
                return states
            case Pooled():
                return np.concatenate([_pool_window(states, str(part.mode), window) for part in ask.parts])
            case SequenceLogits(head):
                return self._classify(head, states)
            case TokenLogits(head):
                layer = "qa_outputs" if head.kind == "answer" else f"{_prefix_of(head)}classifier"
                return self._linear(layer, states)  # (length, labels)
            case MaskLogits():
                return self._predict(states[list(window.masks)])

    def _classify(self, head: Head, states: Array) -> Array:
        """Logits of the classes from one vector of the text, usually through a dense layer."""
        vector = pool(states, head.pooling, (0, len(states)))
        dense = f"{_prefix_of(head)}dense" if head.skill else f"{self._prefix}pooler.dense"
        if not head.skill or f"{dense}.weight" in self._checkpoint.weights:
            vector = np.tanh(self._linear(dense, vector))
        return self._linear(f"{_prefix_of(head)}classifier", vector)  # (labels,)

    def _predict(self, states: Array) -> Array:
        """Masked-LM logits: (masks, hidden) -> (masks, vocabulary)."""
        name = "cls.predictions."
        x = self._activation(self._linear(name + "transform.dense", states))
        x = self._normalise(name + "transform.LayerNorm", x)
        own = name + "decoder.bias" in self._checkpoint.weights
        bias = self._read(name + ("decoder.bias" if own else "bias"))
        return self._product(x, self._checkpoint.projection) + bias

    # The weights

    def _linear(self, name: str, x: Array) -> Array:
        """x·Wᵀ + b"""
        y: Array = self._product(x, name + ".weight")
        y += self._read(name + ".bias")
        return y

    def _normalise(self, name: str, x: Array) -> Array:
        """Layer normalisation: mean 0 and variance 1 over a token's numbers, then scaled and shifted."""
        x = x - x.mean(axis=-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + self._eps)
        x *= self._read(name + ".weight")
        x += self._read(name + ".bias")
        return x


def _tells(asks: Sequence[Ask]) -> bool:
    """Whether any of the asks is about attention."""
    return any(isinstance(ask, OfAttention) for ask in asks)


def _prefix_of(head: Head) -> str:
    return f"heads.{head.name}." if head.skill else ""


def pool(states: Array, mode: str, fresh: tuple[int, int]) -> Array:
    """(length, hidden) -> (hidden,): position 0, or the mean or maximum over the positions `fresh`."""
    chosen = states[:1] if mode == "cls" else states[slice(*fresh)]
    vector: Array = chosen.max(axis=0) if mode == "max" else chosen.mean(axis=0)
    return vector


def _pool_window(states: Array, mode: str, window: Window) -> Array:
    """(length, hidden) -> (hidden,), as `Pooled` says."""
    start, stop = window.fresh
    match mode:
        case "first" | "last":
            row: Array = states[start if mode == "first" else stop - 1]
            return row
        case "weightedmean":
            places = np.arange(1, stop - start + 1, dtype=np.float32) + np.float32(window.before)
            mean: Array = places @ states[start:stop] / places.sum()
            return mean
        case _:
            return pool(states, mode, window.fresh)


def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) over the last axis, in place; the maximum is taken off first against overflow."""
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)
    return x


def gelu(x: Array) -> Array:
    """x·Φ(x), Φ the normal distribution: x/2·(1 + erf(x/√2)), in place.

    erf by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7, a float32's own
    precision.
    """
    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    z *= -z
    tail *= np.exp(z, out=z)  # 1 - erf(|x|/√2)
    erf = np.copysign(1 - tail, x)
    erf += 1
    x *= erf
    x *= np.float32(0.5)
    return x


def gelu_by_tanh(x: Array) -> Array:
    """The approximation x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) that Google's first BERT used."""
    y: Array = np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + np.float32(0.044715) * x**3))
    y += 1
    y *= x
    y *= np.float32(0.5)
    return y


def silu(x: Array) -> Array:
    """x / (1 + exp(-x)), by way of tanh, which cannot overflow."""
    y: Array = np.tanh(np.float32(0.5) * x)
    y += 1
    y *= x
    y *= np.float32(0.5)
    return y


def relu(x: Array) -> Array:
    return np.maximum(x, 0, out=x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_new": gelu_by_tanh,
    "gelu_pytorch_tanh": gelu_by_tanh,
    "relu": relu,
    "silu": silu,
    "swish": silu,
}

"""The description of an encoder and its heads.

Every encoder here is embeddings, a stack of equal layers, and perhaps a last norm. A layer is attention and a
feed-forward network, each with a residual connection and a norm behind it (post-norm, as in BERT) or before
it (pre-norm):

    post-norm   x = norm(x + attention(x))        x = norm(x + feed_forward(x))
    pre-norm    x = x + attention(norm(x))        x = x + feed_forward(norm(x))

Names are those in the file. Names of the embeddings and of the encoder come after the encoder's prefix
(`bert.`), those of a layer's parts after the layer's (`encoder.layer.3.`); names in heads are whole. The name
of a dense layer stands for its `.weight` and, where it has one, its `.bias`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

HeadKind = Literal["label", "tag", "fill", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The sum of the vectors of a word, its position and its token type, normalised.

    Each is the name of a table, None where the architecture has none; the table of token types may be missing
    from the file. With `padding`, the id of a token, positions are counted as in RoBERTa: the first is
    `padding + 1`, and that token itself has the position `padding` wherever it is. `projection` leads from
    the tables' width to the encoder's, after the norm or, with `norm_last`, before it; where it is not
    `always` there, it is there if the widths differ.
    """

    words: str = "embeddings.word_embeddings"
    positions: str | None = "embeddings.position_embeddings"
    types: str | None = "embeddings.token_type_embeddings"
    norm: str | None = "embeddings.LayerNorm"
    padding: int | None = None
    projection: str = "embeddings_project"
    projection_bias: bool = True
    always: bool = False
    norm_last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeBias:
    """A number for each bucket of distances and each head, added to the scores (MPNet, after T5). `table` is
    (buckets, heads), shared by all layers; the last buckets hold all distances from `distance` on."""

    table: str
    buckets: int = 32
    distance: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Disentangled:
    """Distances have vectors, with which queries and keys are compared as they are with each other (DeBERTa).

    `table` is (2 * span, hidden), normalised by `norm` where there is one: row `span + d` is the distance d.
    With `buckets`, distances of more than half as many share logarithmic buckets up to `distance`. `key` is
    the layer that makes keys of these vectors (content to position), `query` the one that makes queries
    (position to content); None where that part is left out. `query_bias` says that the latter has a bias.
    """

    table: str = "encoder.rel_embeddings"
    norm: str | None = None
    span: int
    buckets: int = 0
    distance: int
    key: str | None = None
    query: str | None = None
    key_bias: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotary:
    """Pairs of numbers of queries and keys are turned by an angle that grows with the position (RoPE).

    `thetas` has the base of the angles for each layer. A number's partner is the one half a head further, or
    with `interleaved` the next one. `table` is a table of sines and cosines that a file may hold (RoFormer);
    with `values`, values are turned too.
    """

    thetas: tuple[float, ...]
    interleaved: bool = False
    table: str | None = None
    values: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """softmax(QKᵀ/√d)·V in every head.

    `fused` is one layer in the place of `query`, `key` and `value`; its outputs are all queries, all keys and
    all values or, with `by_head`, the three of the first head, of the second, and so on. DeBERTa's has no
    bias, but `query_bias` and `value_bias` beside it. `key_heads` is the number of heads of keys and values
    where each serves several heads of queries. Scores are divided by √(d · `terms`). With `windows`, one a
    layer, a token attends only to those less than that far away; None is no limit.
    """

    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    fused: str | None = None
    by_head: bool = False
    query_bias: str | None = None
    value_bias: str | None = None
    out: str = "attention.output.dense"
    bias: bool = True
    out_bias: bool = True
    key_heads: int | None = None
    head_width: int | None = None
    positions: RelativeBias | Disentangled | Rotary | None = None
    terms: int = 1
    windows: tuple[int | None, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether the weights are softmax(QKᵀ/√d) of the layers' outputs, and nothing besides."""
        return self.positions is None and self.terms == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) with a gate (Shazeer: GLU Variants Improve
    Transformer, 2020). `fused` is one layer for both, the gate's outputs first or last. `width` is theirs."""

    width: int
    up: str = "intermediate.dense"
    down: str = "output.dense"
    gate: str | None = None
    fused: str | None = None
    gate_first: bool = True
    bias: bool = True
    down_bias: bool = True
    activation: str = "gelu"

    @property
    def gated(self) -> bool:
        return self.gate is not None or self.fused is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One of the encoder's layers; `place` comes before the names of its parts, `{}` in it is its number.

    With `groups`, that many sets of weights are shared by all layers, each by as many layers in a row
    (ALBERT). `first_norm` says whether the first layer has an attention norm.
    """

    feed_forward: FeedForward
    place: str = "encoder.layer.{}."
    attention: Attention = field(default_factory=Attention)
    attention_norm: str = "attention.output.LayerNorm"
    norm: str = "output.LayerNorm"
    norm_first: bool = False
    first_norm: bool = True
    groups: int | None = None


@dataclass(frozen=True, slots=True)
class DenseStep:
    """A step of a head: x·Wᵀ + b, then the activation."""

    name: str
    activation: str | None = None
    bias: bool = True


@dataclass(frozen=True, slots=True)
class NormStep:
    """A step of a head: normalisation."""

    name: str
    bias: bool = True


Step = DenseStep | NormStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """The last step of a masked-LM head: a product with `weight` and the first of `biases` that is in the file.
    The word embeddings take the place of a weight that is not, if it is None or config.json ties the two."""

    weight: str | None
    biases: tuple[str, ...]
    tied: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The steps of each kind of head from hidden states to logits; `{encoder}` in a name is the encoder's prefix.

    A label head takes the vector of the first token or the mean of all; or (`each`) it runs on every token,
    and the logits' mean is taken. After the steps of `fill` comes the `projection` onto the vocabulary.
    """

    label: tuple[Step, ...]
    fill: tuple[Step, ...]
    projection: Projection
    tag: tuple[Step, ...] = (DenseStep("classifier"),)
    answer: tuple[Step, ...] = (DenseStep("qa_outputs"),)
    label_reads: Literal["first", "mean", "each"] = "first"

    def steps(self, kind: HeadKind, encoder: str) -> tuple[Step, ...]:
        """The steps of a kind, whole names in them."""
        steps = {"label": self.label, "tag": self.tag, "fill": self.fill, "answer": self.answer}[kind]
        return tuple(replace(step, name=step.name.replace("{encoder}", encoder)) for step in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How a model computes, every setting of its config.json resolved.

    Norms subtract the mean (layer normalisation) or not (`rms`), and have a bias or not; `eps` keeps them from
    dividing by 0. `last_norm` follows the last layer. `hidden_size` is transformers' own for a config.json
    that has none, `prefix` the encoder's where it could be mistaken for a wrapper's. `activation_key` is the
    name of the encoder's activation in config.json. `unsupported` is what config.json asks for and is not
    described here, in words, such as a decoder.
    """

    layer: Layer
    heads: Heads
    embeddings: Embeddings = field(default_factory=Embeddings)
    last_norm: str | None = None
    rms: bool = False
    norm_bias: bool = True
    eps: float = 1e-12
    hidden_size: int = 768
    prefix: str | None = None
    activation_key: str = "hidden_act"
    unsupported: str | None = None

    @property
    def absolute(self) -> bool:
        """Whether positions are those of the embeddings alone."""
        return self.embeddings.positions is not None and self.layer.attention.plain

    @property
    def like_bert(self) -> bool:
        """Whether the encoder is BERT's: plain attention and feed-forward, norms after them."""
        return (
            self.absolute
            and self.embeddings.norm is not None
            and not self.embeddings.norm_last
            and not self.layer.norm_first
            and self.layer.attention.fused is None
            and not self.layer.feed_forward.gated
        )

    def places(self, layers: int) -> Iterator[str]:
        """What comes before the names of each layer's parts, in the order in which layers run."""
        groups = self.layer.groups or layers
        for number in range(layers):
            yield self.layer.place.format(int(number / (layers / groups)))

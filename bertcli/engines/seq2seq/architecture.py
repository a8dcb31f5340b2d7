"""What an encoder-decoder checkpoint is made of: one description, which `model` computes.

Two naming schemes cover the models that are described: BART's (Marian, BART, mBART, M2M-100 and NLLB, Pegasus) and
T5's (T5, mT5). Everything that differs beyond names is a field of `Architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Positions = Literal["learned", "marian", "tensor2tensor", "relative"]
Side = Literal["encoder", "decoder"]

ACTIVATIONS = frozenset(["relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "swish", "tanh"])


@dataclass(frozen=True, slots=True)
class Names:
    """Names of weights; `{side}` is encoder or decoder, `{layer}` a number. An empty name means there is none.

    `self_attention`, `cross_attention` and `feed_forward` come with the names of what is below them.
    """

    layer: str
    self_attention: str
    cross_attention: str
    projections: tuple[str, str, str, str]
    self_norm: str
    cross_norm: str
    feed_forward_norm: Mapping[str, str]
    feed_forward: Mapping[str, str]
    feed_forward_parts: tuple[tuple[str, ...], str]
    tables: tuple[str, ...]
    position_table: str = ""
    embedding_norm: str = ""
    final_norm: str = ""
    relative_bias: str = ""


BART_NAMES = Names(
    layer="model.{side}.layers.{layer}",
    self_attention="self_attn",
    cross_attention="encoder_attn",
    projections=("q_proj", "k_proj", "v_proj", "out_proj"),
    self_norm="self_attn_layer_norm",
    cross_norm="encoder_attn_layer_norm",
    feed_forward_norm={"encoder": "final_layer_norm", "decoder": "final_layer_norm"},
    feed_forward={"encoder": "", "decoder": ""},
    feed_forward_parts=(("fc1",), "fc2"),
    tables=("model.{side}.embed_tokens.weight", "model.shared.weight", "lm_head.weight"),
    position_table="model.{side}.embed_positions.weight",
    embedding_norm="model.{side}.layernorm_embedding",
    final_norm="model.{side}.layer_norm",
)
T5_NAMES = Names(
    layer="{side}.block.{layer}",
    self_attention="layer.0.SelfAttention",
    cross_attention="layer.1.EncDecAttention",
    projections=("q", "k", "v", "o"),
    self_norm="layer.0.layer_norm",
    cross_norm="layer.1.layer_norm",
    feed_forward_norm={"encoder": "layer.1.layer_norm", "decoder": "layer.2.layer_norm"},
    feed_forward={"encoder": "layer.1.DenseReluDense.", "decoder": "layer.2.DenseReluDense."},
    feed_forward_parts=(("wi",), "wo"),
    tables=("{side}.embed_tokens.weight", "shared.weight"),
    final_norm="{side}.final_layer_norm",
    relative_bias="{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
)


@dataclass(frozen=True, slots=True)
class Stack:
    """An encoder or a decoder: its number of layers and of attention heads."""

    layers: int
    heads: int


@dataclass(frozen=True, slots=True)
class Seq2SeqArchitecture:
    """An encoder-decoder. `width` is that of hidden states, `head_width` that of one attention head.

    `pre_norm` normalises before each sublayer (else behind the sum), `rms_norm` without mean and bias.
    `position_offset` rows of the position table come before position 0. `attention_scale` multiplies QKᵀ,
    `embedding_scale` the word embeddings, `logit_scale` the decoder's states before the vocabulary projection.
    """

    names: Names
    encoder: Stack
    decoder: Stack
    width: int
    head_width: int
    activation: str
    positions: Positions
    position_limit: int | None
    position_offset: int
    pre_norm: bool
    rms_norm: bool
    norm_eps: float
    embedding_norm: bool
    final_norm: bool
    gated: bool
    attention_scale: float
    embedding_scale: float
    logit_scale: float
    relative_buckets: int = 0
    relative_distance: int = 0

    def stack(self, side: Side) -> Stack:
        return self.encoder if side == "encoder" else self.decoder


# What distinguishes the models with BART's names: (positions, offset of the first, pre-norm, norm of the embeddings).
_BART_LIKE: Mapping[str, tuple[Positions, int, bool, bool]] = {
    "marian": ("marian", 0, False, False),
    "pegasus": ("marian", 0, True, False),
    "bart": ("learned", 2, False, True),
    "mbart": ("learned", 2, True, True),
    "m2m_100": ("tensor2tensor", 2, True, False),
}
_T5_LIKE = frozenset(["t5", "mt5"])


def describe_seq2seq(config: Mapping[str, Any]) -> Seq2SeqArchitecture | None:
    """The architecture that config.json declares, None for one without a description here."""
    kind = str(config.get("model_type"))
    try:
        if kind in _BART_LIKE:
            return _bart_like(kind, config)
        if kind in _T5_LIKE:
            return _t5_like(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # transformers says what it makes of such a file
    return None


def _bart_like(kind: str, config: Mapping[str, Any]) -> Seq2SeqArchitecture | None:
    positions, offset, pre_norm, embedding_norm = _BART_LIKE[kind]
    width, heads = config["d_model"], config["encoder_attention_heads"]
    activation = config.get("activation_function", "gelu")
    if activation not in ACTIVATIONS or heads != config["decoder_attention_heads"] or width % heads:
        return None
    if positions == "tensor2tensor":
        offset = config.get("pad_token_id", 1) + 1
    head_width = width // heads
    return Seq2SeqArchitecture(
        names=BART_NAMES,
        encoder=Stack(config["encoder_layers"], heads),
        decoder=Stack(config["decoder_layers"], heads),
        width=width,
        head_width=head_width,
        activation=activation,
        positions=positions,
        position_limit=config.get("max_position_embeddings", 1024),
        position_offset=offset,
        pre_norm=pre_norm,
        rms_norm=False,
        norm_eps=1e-5,
        embedding_norm=embedding_norm,
        final_norm=pre_norm,
        gated=False,
        attention_scale=head_width**-0.5,
        embedding_scale=width**0.5 if config.get("scale_embedding", kind == "m2m_100") else 1.0,
        logit_scale=1.0,
    )


def _t5_like(config: Mapping[str, Any]) -> Seq2SeqArchitecture | None:
    feed_forward = config.get("feed_forward_proj", "relu")
    gated = feed_forward.startswith("gated-")
    activation = feed_forward.removeprefix("gated-")
    if feed_forward == "gated-gelu":
        activation = "gelu_new"  # T5 calls the approximation by tanh gelu
    if activation not in ACTIVATIONS:
        return None
    heads, width = config["num_heads"], config["d_model"]
    # T5 scales where word embeddings are tied, which T5 1.1 denies; newer files say it in a word, mT5 never does it
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings") is not False)
    return Seq2SeqArchitecture(
        names=T5_NAMES,
        encoder=Stack(config["num_layers"], heads),
        decoder=Stack(config.get("num_decoder_layers") or config["num_layers"], heads),
        width=width,
        head_width=config["d_kv"],
        activation=activation,
        positions="relative",
        position_limit=None,
        position_offset=0,
        pre_norm=True,
        rms_norm=True,
        norm_eps=config.get("layer_norm_epsilon", 1e-6),
        embedding_norm=False,
        final_norm=True,
        gated=gated,
        attention_scale=1.0,
        embedding_scale=1.0,
        logit_scale=width**-0.5 if scaled and config["model_type"] == "t5" else 1.0,
        relative_buckets=config.get("relative_attention_num_buckets", 32),
        relative_distance=config.get("relative_attention_max_distance", 128),
    )

"""EuroBERT, Nomic BERT and GTE: encoders with rotary positions and a gated feed-forward."""

from __future__ import annotations

from bertcli.architectures.architecture import (
    Architecture,
    Attention,
    DenseStep,
    Embeddings,
    FeedForward,
    Heads,
    Layer,
    NormStep,
    Projection,
    Rotary,
)
from bertcli.architectures.bert import projection
from bertcli.architectures.config import Config
from bertcli.architectures.rotary import theta


def eurobert(config: Config) -> Architecture:
    """Boizard et al. 2025, arXiv 2503.05500: as Llama, but for the mask."""
    base, reason = theta(config, 10_000.0)
    bias, mlp_bias = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    heads = config.count("num_attention_heads", 12)
    reads = {"bos": "first", "mean": "mean", "late": "each"}
    pooling = config.text("classifier_pooling", "late")
    return Architecture(
        embeddings=Embeddings(words="embed_tokens", positions=None, types=None, norm=None),
        layer=Layer(
            place="layers.{}.",
            attention=Attention(
                query="self_attn.q_proj",
                key="self_attn.k_proj",
                value="self_attn.v_proj",
                out="self_attn.o_proj",
                bias=bias,
                out_bias=bias,
                key_heads=config.count("num_key_value_heads", heads),
                head_width=config.count("head_dim", 0) or None,
                positions=Rotary(thetas=_same(base, config)),
            ),
            attention_norm="input_layernorm",
            feed_forward=FeedForward(
                width=config.count("intermediate_size", 3072),
                up="mlp.up_proj",
                gate="mlp.gate_proj",
                down="mlp.down_proj",
                bias=mlp_bias,
                down_bias=mlp_bias,
                activation=config.text("hidden_act", "silu"),
            ),
            norm="post_attention_layernorm",
            norm_first=True,
        ),
        last_norm="norm",
        prefix="model.",
        rms=True,
        norm_bias=False,
        heads=Heads(
            label=(DenseStep("dense", "gelu"), DenseStep("classifier")),
            fill=(),
            projection=Projection(
                weight="lm_head.weight",
                biases=("lm_head.bias",) if mlp_bias else (),
                tied=config.flag("tie_word_embeddings", False),
            ),
            label_reads=reads.get(pooling, "each"),  # type: ignore[arg-type]
        ),
        eps=config.number("rms_norm_eps", 1e-5),
        unsupported=reason or (None if pooling in reads else f"classifier_pooling is {pooling!r}"),
    )


def nomic_bert(config: Config) -> Architecture:
    """Nussbaum et al. 2024, arXiv 2402.01613."""
    base, reason = theta(config, 1000.0)
    name = "cls.predictions.transform"
    return Architecture(
        embeddings=Embeddings(positions=None, norm="emb_ln"),
        layer=Layer(
            place="encoder.layers.{}.",
            attention=Attention(
                fused="attn.Wqkv",
                out="attn.out_proj",
                bias=False,
                out_bias=False,
                head_width=config.count("head_dim", 0) or None,
                positions=Rotary(thetas=_same(base, config)),
            ),
            attention_norm="norm1",
            feed_forward=FeedForward(
                width=config.count("intermediate_size", 3072),
                up="mlp.fc11",
                gate="mlp.fc12",
                down="mlp.fc2",
                bias=False,
                down_bias=False,
                activation=config.text("hidden_act", "silu"),
            ),
            norm="norm2",
        ),
        heads=Heads(
            label=(DenseStep("{encoder}pooler.dense", "tanh"), DenseStep("classifier")),
            fill=(
                DenseStep(f"{name}.dense", config.text("hidden_act", "silu")),
                NormStep(f"{name}.layer_norm"),
            ),
            projection=projection(config),
        ),
        eps=config.number("layer_norm_eps", 1e-12),
        unsupported=reason,
    )


def gte(config: Config) -> Architecture:
    """Zhang et al.: mGTE, 2024, arXiv 2407.19669."""
    base, reason = theta(config, 160_000.0)
    return Architecture(
        embeddings=Embeddings(
            positions=None,
            types="embeddings.token_type_embeddings" if config.count("type_vocab_size", 1) else None,
        ),
        layer=Layer(
            attention=Attention(
                fused="attention.qkv_proj",
                out="attention.o_proj",
                head_width=config.count("head_dim", 0) or None,
                positions=Rotary(thetas=_same(base, config)),
            ),
            attention_norm="attn_ln",
            feed_forward=FeedForward(
                width=config.count("intermediate_size", 3072),
                fused="mlp.up_gate_proj",
                gate_first=False,
                down="mlp.down_proj",
                bias=False,
                activation=config.text("hidden_act", "gelu"),
            ),
            norm="mlp_ln",
        ),
        heads=Heads(
            label=(DenseStep("{encoder}pooler.dense", "tanh"), DenseStep("classifier")),
            fill=(DenseStep("lm_head.dense", "gelu"), NormStep("lm_head.norm")),
            projection=Projection(
                weight="lm_head.decoder.weight",
                biases=("lm_head.decoder.bias",),
                tied=config.flag("tie_word_embeddings", True),
            ),
        ),
        eps=config.number("layer_norm_eps", 1e-12),
        unsupported=reason,
    )


def _same(base: float, config: Config) -> tuple[float, ...]:
    """The same base for every layer."""
    return (base,) * config.count("num_hidden_layers", 12)

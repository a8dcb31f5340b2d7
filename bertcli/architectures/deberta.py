"""DeBERTa (He et al. 2020, arXiv 2006.03654) and DeBERTaV3 (2021, arXiv 2111.09543): positions enter where
queries and keys meet, as vectors of distances."""

from __future__ import annotations

from bertcli.architectures.architecture import (
    Architecture,
    Attention,
    DenseStep,
    Disentangled,
    Embeddings,
    Heads,
    Layer,
    NormStep,
    Projection,
)
from bertcli.architectures.bert import feed_forward, masked_lm, projection
from bertcli.architectures.config import Config


def deberta(config: Config) -> Architecture:
    """The first version: one layer makes queries, keys and values, and each distance has its own vector."""
    parts = config.names("pos_att_type") or ()
    distance = _distance(config)
    disentangled = Disentangled(
        span=distance,
        distance=distance,
        key="attention.self.pos_proj" if "c2p" in parts else None,
        key_bias=False,
        query="attention.self.pos_q_proj" if "p2c" in parts else None,
    )
    return Architecture(
        embeddings=_embeddings(config),
        layer=Layer(
            attention=Attention(
                fused="attention.self.in_proj",
                by_head=True,
                bias=False,
                query_bias="attention.self.q_bias",
                value_bias="attention.self.v_bias",
                positions=disentangled if config.flag("relative_attention", False) else None,
                terms=1 + len(parts),
            ),
            feed_forward=feed_forward(config),
        ),
        heads=_heads(config),
        eps=config.number("layer_norm_eps", 1e-7),
        unsupported="its heads mix their weights" if config.flag("talking_head", False) else None,
    )


def deberta_v2(config: Config) -> Architecture:
    """Versions 2 and 3: distances share logarithmic buckets, and their vectors the layers of queries and keys."""
    parts = config.names("pos_att_type") or ()
    shared = config.flag("share_att_key", False)
    distance, buckets = _distance(config), max(config.count("position_buckets", -1), 0)
    normed = "layer_norm" in (config.names("norm_rel_ebd") or ())
    key, query = ("key_proj", "query_proj") if shared else ("pos_key_proj", "pos_query_proj")
    disentangled = Disentangled(
        norm="encoder.LayerNorm" if normed else None,
        span=buckets or distance,
        buckets=buckets,
        distance=distance,
        key=f"attention.self.{key}" if "c2p" in parts else None,
        query=f"attention.self.{query}" if "p2c" in parts else None,
    )
    convolved = config.count("conv_kernel_size", 0) > 0
    return Architecture(
        embeddings=_embeddings(config),
        layer=Layer(
            attention=Attention(
                query="attention.self.query_proj",
                key="attention.self.key_proj",
                value="attention.self.value_proj",
                positions=disentangled if config.flag("relative_attention", False) else None,
                terms=1 + ("c2p" in parts) + ("p2c" in parts),
            ),
            feed_forward=feed_forward(config, width=6144),
        ),
        heads=_heads(config),
        eps=config.number("layer_norm_eps", 1e-7),
        hidden_size=1536,
        unsupported="its first layer has a convolution" if convolved else None,
    )


def _distance(config: Config) -> int:
    """The largest distance that has a vector, or a bucket, of its own."""
    found = config.count("max_relative_positions", -1)
    return found if found > 0 else config.count("max_position_embeddings", 512)


def _embeddings(config: Config) -> Embeddings:
    biased = config.flag("position_biased_input", True)
    return Embeddings(
        positions="embeddings.position_embeddings" if biased else None,
        types="embeddings.token_type_embeddings" if config.count("type_vocab_size", 0) > 0 else None,
        projection="embeddings.embed_proj",
        projection_bias=False,
        norm_last=True,
    )


def _heads(config: Config) -> Heads:
    pooler = DenseStep("pooler.dense", config.text("pooler_hidden_act", "gelu"))
    label = (pooler, DenseStep("classifier"))
    if config.flag("legacy", True):
        return Heads(label=label, fill=masked_lm(config), projection=projection(config))
    name = "lm_predictions.lm_head"
    return Heads(
        label=label,
        fill=(DenseStep(f"{name}.dense", config.text("hidden_act", "gelu")), NormStep(f"{name}.LayerNorm")),
        projection=Projection(weight=None, biases=(f"{name}.bias",)),
    )

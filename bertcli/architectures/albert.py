"""ALBERT (Lan et al. 2019, arXiv 1909.11942): narrow embeddings, and layers that share their weights."""

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
)
from bertcli.architectures.config import Config


def albert(config: Config) -> Architecture:
    activation = config.text("hidden_act", "gelu_new")
    inner = config.count("inner_group_num", 1)
    several = None if inner == 1 else f"its groups are of {inner} layers each"
    return Architecture(
        embeddings=Embeddings(projection="encoder.embedding_hidden_mapping_in", always=True),
        layer=Layer(
            place="encoder.albert_layer_groups.{}.albert_layers.0.",
            attention=Attention(
                query="attention.query", key="attention.key", value="attention.value", out="attention.dense"
            ),
            attention_norm="attention.LayerNorm",
            feed_forward=FeedForward(
                width=config.count("intermediate_size", 16384),
                up="ffn",
                down="ffn_output",
                activation=activation,
            ),
            norm="full_layer_layer_norm",
            groups=config.count("num_hidden_groups", 1),
        ),
        heads=Heads(
            label=(DenseStep("{encoder}pooler", "tanh"), DenseStep("classifier")),
            fill=(DenseStep("predictions.dense", activation), NormStep("predictions.LayerNorm")),
            projection=Projection(
                weight="predictions.decoder.weight",
                biases=("predictions.decoder.bias", "predictions.bias"),
                tied=config.flag("tie_word_embeddings", True),
            ),
        ),
        eps=config.number("layer_norm_eps", 1e-12),
        hidden_size=4096,
        unsupported=several,
    )

"""RoBERTa (Liu et al. 2019, arXiv 1907.11692): BERT with its own heads and way of counting positions. XLM-R,
CamemBERT and data2vec-text are the same; XLM-R XL and RoBERTa-PreLayerNorm have their norms first."""

from __future__ import annotations

from bertcli.architectures.architecture import (
    Architecture,
    DenseStep,
    Embeddings,
    Heads,
    Layer,
    NormStep,
    Projection,
)
from bertcli.architectures.bert import feed_forward
from bertcli.architectures.config import Config


def roberta(config: Config) -> Architecture:
    return Architecture(
        embeddings=Embeddings(padding=config.count("pad_token_id", 1)),
        layer=Layer(feed_forward=feed_forward(config)),
        heads=roberta_heads(config),
        eps=config.number("layer_norm_eps", 1e-12),
    )


def roberta_prelayernorm(config: Config) -> Architecture:
    return Architecture(
        embeddings=Embeddings(padding=config.count("pad_token_id", 1)),
        layer=Layer(
            feed_forward=feed_forward(config),
            attention_norm="attention.LayerNorm",
            norm="intermediate.LayerNorm",
            norm_first=True,
        ),
        last_norm="LayerNorm",
        heads=roberta_heads(config),
        eps=config.number("layer_norm_eps", 1e-12),
    )


def xlm_roberta_xl(config: Config) -> Architecture:
    """Goyal et al.: Larger-Scale Transformers for Multilingual Masked Language Modeling, 2021."""
    return Architecture(
        embeddings=Embeddings(padding=config.count("pad_token_id", 1), norm=None),
        layer=Layer(
            feed_forward=feed_forward(config, width=10240),
            attention_norm="attention.self_attn_layer_norm",
            norm="LayerNorm",
            norm_first=True,
        ),
        last_norm="encoder.LayerNorm",
        heads=roberta_heads(config),
        eps=config.number("layer_norm_eps", 1e-5),
        hidden_size=2560,
    )


def roberta_heads(config: Config) -> Heads:
    return Heads(
        label=(DenseStep("classifier.dense", "tanh"), DenseStep("classifier.out_proj")),
        fill=(DenseStep("lm_head.dense", "gelu"), NormStep("lm_head.layer_norm")),
        projection=Projection(
            weight="lm_head.decoder.weight",
            biases=("lm_head.decoder.bias", "lm_head.bias"),
            tied=config.flag("tie_word_embeddings", True),
        ),
    )

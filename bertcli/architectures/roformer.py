"""RoFormer (Su et al. 2021, arXiv 2104.09864): BERT with rotary positions."""

from __future__ import annotations

from bertcli.architectures.architecture import (
    Architecture,
    Attention,
    DenseStep,
    Embeddings,
    Heads,
    Layer,
    Rotary,
)
from bertcli.architectures.bert import feed_forward, masked_lm, projection
from bertcli.architectures.config import Config


def roformer(config: Config) -> Architecture:
    activation = config.text("hidden_act", "gelu")
    return Architecture(
        embeddings=Embeddings(positions=None),
        layer=Layer(
            attention=Attention(
                positions=Rotary(
                    thetas=(10_000.0,) * config.count("num_hidden_layers", 12),
                    interleaved=True,
                    table="encoder.embed_positions",
                    values=config.flag("rotary_value", False),
                )
            ),
            feed_forward=feed_forward(config),
        ),
        heads=Heads(
            label=(DenseStep("classifier.dense", activation), DenseStep("classifier.out_proj")),
            fill=masked_lm(config),
            projection=projection(config),
        ),
        eps=config.number("layer_norm_eps", 1e-12),
    )

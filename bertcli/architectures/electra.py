"""ELECTRA (Clark et al. 2020, arXiv 2003.10555): BERT, with narrower embeddings where the model is small."""

from __future__ import annotations

from bertcli.architectures.architecture import Architecture, DenseStep, Heads, Layer, NormStep, Projection
from bertcli.architectures.bert import feed_forward
from bertcli.architectures.config import Config


def electra(config: Config) -> Architecture:
    return Architecture(
        layer=Layer(feed_forward=feed_forward(config, width=1024)),
        heads=Heads(
            label=(DenseStep("classifier.dense", "gelu"), DenseStep("classifier.out_proj")),
            fill=(
                DenseStep("generator_predictions.dense", "gelu"),
                NormStep("generator_predictions.LayerNorm"),
            ),
            projection=Projection(
                weight="generator_lm_head.weight",
                biases=("generator_lm_head.bias",),
                tied=config.flag("tie_word_embeddings", True),
            ),
        ),
        eps=config.number("layer_norm_eps", 1e-12),
        hidden_size=256,
    )

"""DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT with half the layers, no token types and other names."""

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


def distilbert(config: Config) -> Architecture:
    activation = config.text("activation", "gelu")
    return Architecture(
        embeddings=Embeddings(types=None),
        layer=Layer(
            place="transformer.layer.{}.",
            attention=Attention(
                query="attention.q_lin",
                key="attention.k_lin",
                value="attention.v_lin",
                out="attention.out_lin",
            ),
            attention_norm="sa_layer_norm",
            feed_forward=FeedForward(
                width=config.count("hidden_dim", 3072),
                up="ffn.lin1",
                down="ffn.lin2",
                activation=activation,
            ),
            norm="output_layer_norm",
        ),
        heads=Heads(
            label=(DenseStep("pre_classifier", "relu"), DenseStep("classifier")),
            fill=(DenseStep("vocab_transform", activation), NormStep("vocab_layer_norm")),
            projection=Projection(
                weight="vocab_projector.weight",
                biases=("vocab_projector.bias",),
                tied=config.flag("tie_word_embeddings", True),
            ),
        ),
        activation_key="activation",
    )

"""BERT (Devlin et al. 2018, arXiv 1810.04805), and ERNIE and MegatronBERT, which differ little."""

from __future__ import annotations

from bertcli.architectures.architecture import (
    Architecture,
    DenseStep,
    Embeddings,
    FeedForward,
    Heads,
    Layer,
    NormStep,
    Projection,
    Step,
)
from bertcli.architectures.config import Config


def bert(config: Config) -> Architecture:
    return Architecture(
        layer=Layer(feed_forward=feed_forward(config)),
        heads=bert_heads(config),
        eps=config.number("layer_norm_eps", 1e-12),
    )


def ernie(config: Config) -> Architecture:
    tasks = "it has embeddings of tasks" if config.flag("use_task_id", False) else None
    return Architecture(
        layer=Layer(feed_forward=feed_forward(config)),
        heads=bert_heads(config),
        eps=config.number("layer_norm_eps", 1e-12),
        unsupported=tasks,
    )


def megatron_bert(config: Config) -> Architecture:
    """Norms come first (Shoeybi et al.: Megatron-LM, 2019, section 5.3)."""
    return Architecture(
        embeddings=Embeddings(norm=None),
        layer=Layer(
            feed_forward=feed_forward(config, width=4096),
            attention_norm="attention.ln",
            norm="ln",
            norm_first=True,
        ),
        last_norm="encoder.ln",
        heads=bert_heads(config),
        eps=config.number("layer_norm_eps", 1e-12),
        hidden_size=1024,
    )


def feed_forward(config: Config, *, width: int = 3072) -> FeedForward:
    return FeedForward(
        width=config.count("intermediate_size", width),
        activation=config.text("hidden_act", "gelu"),
    )


def bert_heads(config: Config) -> Heads:
    """BERT's: labels from the pooler's vector, words through a dense layer with the encoder's activation."""
    return Heads(
        label=(DenseStep("{encoder}pooler.dense", "tanh"), DenseStep("classifier")),
        fill=masked_lm(config),
        projection=projection(config),
    )


def masked_lm(config: Config) -> tuple[Step, ...]:
    name = "cls.predictions.transform"
    return (DenseStep(f"{name}.dense", config.text("hidden_act", "gelu")), NormStep(f"{name}.LayerNorm"))


def projection(config: Config) -> Projection:
    return Projection(
        weight="cls.predictions.decoder.weight",
        biases=("cls.predictions.decoder.bias", "cls.predictions.bias"),
        tied=config.flag("tie_word_embeddings", True),
    )

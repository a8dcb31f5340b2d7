"""MPNet (Song et al. 2020, arXiv 2004.09297): BERT with a bias for each distance, shared by all layers."""

from __future__ import annotations

from bertcli.architectures.architecture import Architecture, Attention, Embeddings, Layer, RelativeBias
from bertcli.architectures.bert import feed_forward
from bertcli.architectures.config import Config
from bertcli.architectures.roberta import roberta_heads


def mpnet(config: Config) -> Architecture:
    buckets = config.count("relative_attention_num_buckets", 32)  # transformers counts 32, whatever this says
    return Architecture(
        embeddings=Embeddings(types=None, padding=1),
        layer=Layer(
            attention=Attention(
                query="attention.attn.q",
                key="attention.attn.k",
                value="attention.attn.v",
                out="attention.attn.o",
                positions=RelativeBias(table="encoder.relative_attention_bias"),
            ),
            attention_norm="attention.LayerNorm",
            feed_forward=feed_forward(config),
        ),
        heads=roberta_heads(config),
        eps=config.number("layer_norm_eps", 1e-12),
        unsupported=None if buckets == 32 else f"it has {buckets} buckets of distances, not 32",
    )

"""ModernBERT (Warner et al. 2024, arXiv 2412.13663): norms first, rotary positions, gated feed-forward, and
layers that attend to near tokens alone between others that attend to all."""

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
    Step,
)
from bertcli.architectures.config import Config
from bertcli.architectures.rotary import unusual

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def modernbert(config: Config) -> Architecture:
    kinds = _layer_kinds(config)
    window = config.count("local_attention", 128) // 2 + 1
    thetas, reason = _thetas(config)
    bias = config.flag("attention_bias", False)
    norm_bias = config.flag("norm_bias", False)
    mlp_bias = config.flag("mlp_bias", False)
    return Architecture(
        embeddings=Embeddings(
            words="embeddings.tok_embeddings", positions=None, types=None, norm="embeddings.norm"
        ),
        layer=Layer(
            place="layers.{}.",
            attention=Attention(
                fused="attn.Wqkv",
                out="attn.Wo",
                bias=bias,
                out_bias=bias,
                positions=Rotary(thetas=tuple(thetas[kind] for kind in kinds)),
                windows=tuple(window if kind == _LOCAL else None for kind in kinds),
            ),
            attention_norm="attn_norm",
            feed_forward=FeedForward(
                width=config.count("intermediate_size", 1152),
                fused="mlp.Wi",
                down="mlp.Wo",
                bias=mlp_bias,
                down_bias=mlp_bias,
                activation=config.text("hidden_activation", "gelu"),
            ),
            norm="mlp_norm",
            norm_first=True,
            first_norm=False,
        ),
        last_norm="final_norm",
        prefix="model.",
        norm_bias=norm_bias,
        heads=_heads(config, norm_bias=norm_bias),
        eps=config.number("norm_eps", 1e-5),
        activation_key="hidden_activation",
        unsupported=reason,
    )


def _layer_kinds(config: Config) -> tuple[str, ...]:
    layers, every = config.count("num_hidden_layers", 22), config.count("global_attn_every_n_layers", 3)
    named = config.names("layer_types")
    if named is not None:
        return tuple(name if name == _LOCAL else _GLOBAL for name in named)
    return tuple(_LOCAL if every > 0 and number % every else _GLOBAL for number in range(layers))


def _thetas(config: Config) -> tuple[dict[str, float], str | None]:
    """The base of the angles in each kind of layer, and what is unusual about them."""
    thetas, reason = {}, None
    if config.has("rope_scaling"):
        reason = "its rotary positions are scaled"
    parameters = config.section("rope_parameters")
    for kind, key, default in (
        (_GLOBAL, "global_rope_theta", 160_000.0),
        (_LOCAL, "local_rope_theta", 10_000.0),
    ):
        own = parameters.section(kind)
        thetas[kind] = own.number("rope_theta", config.number(key, default))
        reason = reason or own.fault or unusual(own)
    return thetas, reason or parameters.fault


def _heads(config: Config, *, norm_bias: bool) -> Heads:
    """All begin with a dense layer and a norm, called `head`."""
    bias = config.flag("classifier_bias", False)
    head: tuple[Step, ...] = (
        DenseStep("head.dense", config.text("classifier_activation", "gelu"), bias),
        NormStep("head.norm", norm_bias),
    )
    return Heads(
        label=(*head, DenseStep("classifier")),
        tag=(*head, DenseStep("classifier")),
        answer=(*head, DenseStep("classifier")),
        fill=head,
        projection=Projection(
            weight="decoder.weight",
            biases=("decoder.bias",) if config.flag("decoder_bias", True) else (),
            tied=config.flag("tie_word_embeddings", True),
        ),
        label_reads="mean" if config.text("classifier_pooling", "cls") == "mean" else "first",
    )

"""The encoder layers of the BERT family with their many small steps run as few large ones.

BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT and ALBERT share one layer (attention, add, normalise,
feed-forward, add, normalise) under different names. Here query, key and value are one matrix product, and on
CPU the additions and GELU happen inside oneDNN's products, with weights laid out for it beforehand.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as EncoderOutput

from bertcli.engines.attention import attend, current_layout

# Activations that oneDNN computes inside a matrix product: its name and variant.
_ONEDNN_ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
_TYPICAL_ROWS = 2048


def onednn_takes(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN multiplies this dtype with prepacked weights here, faster than torch's own linear."""
    return (
        device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and _onednn_has_bfloat16()))
    )


def _onednn_has_bfloat16() -> bool:
    has: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has


class PrepackedLinear(nn.Module):
    """x·Wᵀ + b, then the activation or the sum with a residual, in one oneDNN call."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _TYPICAL_ROWS)
        self.bias = bias
        self.fused, self.variant = _ONEDNN_ACTIVATIONS.get(activation or "", ("none", ""))
        self.after = None if activation is None or self.fused != "none" else ACT2FN[activation]

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        run = torch.ops.mkldnn._linear_pointwise
        if residual is not None:
            y: Tensor = run.binary(x, residual, self.weight, self.bias, "add")
        else:
            y = run(x, self.weight, self.bias, self.fused, [], self.variant)
        if self.after is not None:
            y = self.after(y)
        return y


class PlainLinear(nn.Module):
    """The same in torch's own operations, for every other device and dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.after = None if activation is None else ACT2FN[activation]

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = functional.linear(x, self.weight, self.bias)
        if self.after is not None:
            y = self.after(y)
        return y if residual is None else y + residual


def linear(weight: Tensor, bias: Tensor | None, activation: str | None = None) -> nn.Module:
    """x·Wᵀ + b in the way that suits the weight's dtype and device; see PrepackedLinear."""
    if onednn_takes(weight.dtype, weight.device):
        return PrepackedLinear(weight, bias, activation)
    return PlainLinear(weight, bias, activation)


def prepack(module: nn.Module) -> None:
    """Replace every nn.Linear inside `module` by its prepacked equal, where that is faster."""
    for name, child in module.named_children():
        if type(child) is nn.Linear and onednn_takes(child.weight.dtype, child.weight.device):
            setattr(module, name, PrepackedLinear(child.weight, child.bias))
        else:
            prepack(child)


@dataclass(frozen=True, slots=True)
class Names:
    """Where an architecture keeps the parts of a layer."""

    query: str
    key: str
    value: str
    out: str
    attention_norm: str
    up: str
    down: str
    norm: str


_BERT = Names(
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_DISTILBERT = Names(
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)
_ALBERT = Names(
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.dense",
    "attention.LayerNorm",
    "ffn",
    "ffn_output",
    "full_layer_layer_norm",
)


class FusedLayer(nn.Module):
    """One encoder layer over a pack: (tokens, hidden) -> (tokens, hidden)."""

    def __init__(self, layer: nn.Module, names: Names, heads: int, activation: str) -> None:
        super().__init__()
        part: Callable[[str], Any] = layer.get_submodule
        queries = [part(name) for name in (names.query, names.key, names.value)]
        self.heads = heads
        self.query_key_value = linear(
            torch.cat([each.weight for each in queries]), torch.cat([each.bias for each in queries])
        )
        self.out = _same(part(names.out))
        self.attention_norm = part(names.attention_norm)
        self.up = _same(part(names.up), activation)
        self.down = _same(part(names.down))
        self.norm = part(names.norm)

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """With `rows`, only these come out, though they have looked at all."""
        qkv = self.query_key_value(x).view(len(x), 3, self.heads, -1)  # (tokens, 3, heads, width)
        q, k, v = qkv.unbind(1)
        context = attend(q, k, v, scale=q.shape[-1] ** -0.5).flatten(1)  # (tokens, hidden)
        if rows is not None:
            context, x = context[rows], x[rows]
        x = self.attention_norm(self.out(context, residual=x))
        y: Tensor = self.norm(self.down(self.up(x), residual=x))
        return y


def _same(module: Any, activation: str | None = None) -> nn.Module:
    return linear(module.weight, module.bias, activation)


class FusedEncoder(nn.Module):
    """Stands in for the encoder of a transformers model and runs as many layers as the layout asks for."""

    def __init__(self, layers: Sequence[FusedLayer], before: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.before = before

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> EncoderOutput:
        x = hidden_states if self.before is None else self.before(hidden_states)
        x = x[0]  # (1, tokens, hidden): a pack is one long sequence
        layout = current_layout()
        for number in range(layout.depth):
            x = self.layers[number](x, layout.rows if number == layout.depth - 1 else None)
        if layout.depth == 0 and layout.rows is not None:
            x = x[layout.rows]
        return EncoderOutput(last_hidden_state=x[None])


def fuse(model: Any) -> bool:
    """Replace the encoder inside a transformers base model by its fused equal; False if it has none."""
    config = model.config
    match config.model_type:
        case "bert" | "roberta" | "xlm-roberta" | "camembert" | "electra":
            layers = model.encoder.layer
            model.encoder = _fused(layers, _BERT, config.num_attention_heads, config.hidden_act)
        case "distilbert":
            layers = model.transformer.layer
            model.transformer = _fused(layers, _DISTILBERT, config.n_heads, config.activation)
        case "albert" if config.inner_group_num == 1:
            layers = _albert_layers(model.encoder.albert_layer_groups, config.num_hidden_layers)
            before = model.encoder.embedding_hidden_mapping_in
            model.encoder = _fused(layers, _ALBERT, config.num_attention_heads, config.hidden_act, before)
        case _:
            return False
    return True


def _albert_layers(groups: Sequence[Any], count: int) -> list[nn.Module]:
    """ALBERT's layers in the order they run: neighbours share their weights."""
    return [groups[int(number / (count / len(groups)))].albert_layers[0] for number in range(count)]


def _fused(
    layers: Iterable[nn.Module], names: Names, heads: int, activation: str, before: nn.Module | None = None
) -> FusedEncoder:
    fused: dict[nn.Module, FusedLayer] = {}
    order = []
    for layer in layers:
        if layer not in fused:
            fused[layer] = FusedLayer(layer, names, heads, activation)
        order.append(fused[layer])
    return FusedEncoder(order, before)

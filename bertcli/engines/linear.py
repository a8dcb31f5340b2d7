"""x·Wᵀ + b in the way that suits a device and a number format, with what follows it in the same call."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertcli.engines.device import ROUND_ROWS

Activation = Callable[[Tensor], Tensor]

_gelu_by_tanh = partial(functional.gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": functional.gelu,
    "gelu_new": _gelu_by_tanh,
    "gelu_pytorch_tanh": _gelu_by_tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "swish": functional.silu,
    "tanh": torch.tanh,
}
# Those that oneDNN computes inside a matrix product: its name and variant.
ONEDNN_ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
_TYPICAL_ROWS = 2048


def linear(
    weight: Tensor, bias: Tensor | None, activation: str | None = None, *, few_rows: bool = False
) -> PrepackedLinear | PlainLinear:
    """x·Wᵀ + b for a weight (out, in), then the activation or the sum with a residual. `few_rows`: x often has few
    rows, and their number may decide how sums are rounded."""
    if onednn_takes(weight.dtype, weight.device):
        return PrepackedLinear(weight, bias, activation, few_rows=few_rows)
    return PlainLinear(weight, bias, activation)


def onednn_takes(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN multiplies this dtype with prepacked weights here, faster than torch's own linear."""
    return (
        device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and (dtype == torch.float32 or (dtype == torch.bfloat16 and _onednn_has_bfloat16()))
    )


def onednn_adds_in_one_order(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether the products of a row are added in one order, however many rows there are beside it. With AMX the number
    of rows decides in bfloat16: a product of 1 536 by 384 has other last bits below 352 rows."""
    with_amx = dtype == torch.bfloat16 and torch.cpu._is_amx_tile_supported()
    return onednn_takes(dtype, device) and not with_amx


def _onednn_has_bfloat16() -> bool:
    has: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return has


class PrepackedLinear(nn.Module):
    """One oneDNN call, with weights laid out for it beforehand; most activations happen inside it.

    The number of rows is rounded up: oneDNN prepares a kernel for every number, which takes time, and keeps
    it, which takes memory. With `few_rows` it is a power of two below the usual multiple.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, activation: str | None = None, *, few_rows: bool = False
    ) -> None:
        super().__init__()
        self.few_rows = few_rows
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _TYPICAL_ROWS)
        self.bias = bias
        self.fused, self.variant = ONEDNN_ACTIVATIONS.get(activation or "", ("none", ""))
        self.after = None if activation is None or self.fused != "none" else ACTIVATIONS[activation]

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        run = torch.ops.mkldnn._linear_pointwise
        rows = x.numel() // x.shape[-1]
        multiple = ROUND_ROWS["cpu"]
        if self.few_rows and rows < multiple:
            multiple = 1 << (rows - 1).bit_length()
        if spare := -rows % multiple:
            flat = functional.pad(x.reshape(rows, -1), (0, 0, 0, spare))
            beside = (
                None if residual is None else functional.pad(residual.reshape(rows, -1), (0, 0, 0, spare))
            )
            return self.forward(flat, beside)[:rows].view(*x.shape[:-1], -1)
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
        self.after = None if activation is None else ACTIVATIONS[activation]

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y = functional.linear(x, self.weight, self.bias)
        if self.after is not None:
            y = self.after(y)
        return y if residual is None else y + residual


def prepack(module: nn.Module) -> None:
    """Replace every nn.Linear inside `module` by its prepacked equal, where that is faster."""
    for name, child in module.named_children():
        if type(child) is nn.Linear and onednn_takes(child.weight.dtype, child.weight.device):
            setattr(module, name, PrepackedLinear(child.weight, child.bias))
        else:
            prepack(child)

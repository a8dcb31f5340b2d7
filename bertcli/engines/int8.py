"""Matrix products in whole numbers: 8 bits without a sign for what comes in, 8 with one for weights.

Every channel of what comes into a product has a factor and an offset, found once on a sample of texts, so that it lies
within 0 to 255: q = round(x · factor + offset). Their inverses belong to the weight and the bias, so that
W·x + b = W'·q + b', up to rounding, and the product itself knows nothing of them. The factors make channels of large
range narrower (SmoothQuant, Xiao et al. 2022), the offsets make each symmetric (Outlier Suppression+, Wei et al.
2023). Within a feed-forward, whose first product rounds for the second, all channels have one factor; the few outliers
among them are computed beside (LLM.int8(), Dettmers et al. 2022). A row of a weight has a scale of its own.

Nothing is found out while texts run: a token's numbers are rounded in one way, whatever else is in its batch.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np
import torch
from safetensors.numpy import load, save
from torch import Tensor, nn
from torch.nn import functional

from bertcli.engines.device import ROUND_ROWS, choose_dtype
from bertcli.engines.linear import ACTIVATIONS, ONEDNN_ACTIVATIONS, linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 255
LARGEST_WEIGHT = 127
Role = Literal["query_key_value", "out", "up", "down"]
SAMPLED_OF_BATCH = 256  # rows, at most
SAMPLED_ROWS = 2048  # of what comes into a product, to measure what rounding loses
SMOOTHING = (0.5, 0.625, 0.75, 0.875)  # exponents that are tried
DOWN = (
    "down"  # of what comes into this product every channel is rounded alike, so that the one before can do it
)
OUTLIERS = (0, 1, 2, 4, 8)  # channels that are tried as such
LITTLE_LOST = 0.015  # more outliers are tried for less than that
SMALLEST = 1e-6
MOST_LOST = 0.05
MANY_WEIGHTS = 1 << 20
_ROWS_IN_CACHE = 512


@dataclass(frozen=True, slots=True)
class Rounding:
    """How what comes into a product is rounded: factor and offset of each channel, (in,) or (1,) each, float32. `lost`
    is the part of what comes out (root mean square) that rounding changes on the sample. `outliers` are channels of
    which what exceeds the range is computed beside (`Excess`)."""

    factor: NDArray[np.float32]
    offset: NDArray[np.float32]
    lost: float
    outliers: tuple[int, ...] = ()

    @property
    def top(self) -> float:
        """The largest number that is not cut, where all channels are rounded alike."""
        return float((LEVELS - self.offset[0]) / self.factor[0])


Roundings = Mapping[str, Rounding]
"""By the name of a product. One that is missing is computed in the encoder's dtype."""


def roundings_as_bytes(roundings: Roundings) -> bytes:
    """Roundings as a safetensors file: the same bytes for the same roundings."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, rounding in roundings.items():
        tensors[f"{name}/factor"], tensors[f"{name}/offset"] = rounding.factor, rounding.offset
        tensors[f"{name}/lost"] = np.array(rounding.lost)
        tensors[f"{name}/outliers"] = np.array(rounding.outliers, np.int64)
    return save(tensors)


def roundings_from_bytes(data: bytes) -> dict[str, Rounding]:
    """The inverse of `roundings_as_bytes`."""
    tensors = load(data)
    names = [name.removesuffix("/lost") for name in tensors if name.endswith("/lost")]
    return {
        name: Rounding(
            tensors[f"{name}/factor"],
            tensors[f"{name}/offset"],
            float(tensors[f"{name}/lost"]),
            tuple(tensors[f"{name}/outliers"].tolist()),
        )
        for name in names
    }


def has_int8_products() -> bool:
    """Whether this processor adds up products of 8 bits without overflow, and torch has the kernels for it."""
    return bool(
        torch.backends.mkldnn.is_available()
        and torch.cpu._is_vnni_supported()
        and hasattr(torch.ops.onednn, "qlinear_pointwise")
    )


def is_worth_rounding(role: Role, weight: Tensor) -> bool:
    """Whether a product of the layers takes less time in whole numbers, rounding included, than in the dtype around
    it. Where that is bfloat16 the smallest one does not; with AMX only large ones of the feed-forward do."""
    if choose_dtype("int8", weight.device) != torch.bfloat16:
        return True
    if torch.cpu._is_amx_tile_supported():
        return role in ("up", DOWN) and weight.numel() >= MANY_WEIGHTS
    return role != "out"


def processor() -> str:
    """What `is_worth_rounding` knows of the processor."""
    return f"{choose_dtype('int8', torch.device('cpu'))} amx={torch.cpu._is_amx_tile_supported()}"


class Int8Linear(nn.Module):
    """x·Wᵀ + b for x (rows, in) of any dtype, or rounded already (uint8), as `dtype`; with a float32
    residual (rows, out), which is overwritten, as float32.

    With `onto` what comes out is rounded for the product that comes next. `excess` is added to the residual.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        activation: str | None,
        rounding: Rounding,
        *,
        dtype: torch.dtype,
        onto: Rounding | None = None,
        excess: Excess | None = None,
    ) -> None:
        super().__init__()
        _warn_once()
        self._factor, self._offset = torch.tensor(rounding.factor), torch.tensor(rounding.offset)
        rounded, scales, shift = _rounded_weight(weight, self._factor, self._offset)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded, [_ROWS_IN_CACHE, rounded.shape[1]])
        self._scales, self._bias = scales, shift if bias is None else shift + bias.float()
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)
        self._fused, self._variant = ONEDNN_ACTIVATIONS.get(activation or "", ("none", ""))
        self._after = None if activation is None or self._fused != "none" else ACTIVATIONS[activation]
        self._excess = excess
        self._dtype, self._scale, self._zero = dtype, 1.0, 0
        if onto is not None and self._after is None:
            self._dtype = torch.uint8
            self._scale, self._zero = 1 / float(onto.factor[0]), int(onto.offset[0])

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        rows = x.numel() // x.shape[-1]
        if spare := -rows % ROUND_ROWS["cpu"]:
            flat = functional.pad(x.reshape(rows, -1), (0, 0, 0, spare))
            beside = None if residual is None else functional.pad(residual, (0, 0, 0, spare))
            return self.forward(flat, beside)[:rows].view(*x.shape[:-1], -1)
        q = x if x.dtype == torch.uint8 else self._round(x)
        run = torch.ops.onednn.qlinear_pointwise
        if residual is not None:
            beside = residual if self._excess is None else self._excess.add_to(residual)
            y: Tensor = run.binary(
                q, 1.0, 0, self._weight, self._scales, self._zeros, beside, self._bias, 1.0, 0,
                torch.float32, 1.0, 0, "sum", 1.0, "none", [], "",
            )  # fmt: skip
            return y
        y = run(
            q, 1.0, 0, self._weight, self._scales, self._zeros, self._bias, self._scale, self._zero,
            self._dtype, self._fused, [], self._variant,
        )  # fmt: skip
        return y if self._after is None else self._after(y)

    def _round(self, x: Tensor) -> Tensor:
        rounded = torch.empty(x.shape, dtype=torch.uint8)
        for start in range(0, len(x), _ROWS_IN_CACHE):
            part = slice(start, start + _ROWS_IN_CACHE)
            numbers = torch.addcmul(self._offset, x[part].float(), self._factor)
            rounded[part] = _bytes_of(torch.quantize_per_tensor(numbers, 1.0, 0, torch.quint8))
        return rounded


@functools.cache
def _warn_once() -> None:
    """Let torch say here that quantised tensors will go in a later release (pyproject.toml has none of these): each
    other way from float32 to bytes takes five times as long."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


def _bytes_of(quantized: Tensor) -> Tensor:
    """The numbers of a quantised tensor, without the copy that `int_repr` makes."""
    numbers = torch.empty(0, dtype=torch.uint8)
    return numbers.set_(quantized.untyped_storage(), 0, quantized.shape, quantized.stride())


def _rounded_weight(weight: Tensor, factor: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(out, in) as int8, the scale of each row, and what the offsets of the input add to the bias."""
    scaled = weight.double() / factor.double()
    scales = scaled.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / LARGEST_WEIGHT
    rounded = (scaled / scales[:, None]).round_()
    shift = -scales * (rounded * offset.double()).sum(1)
    return rounded.to(torch.int8), scales.float(), shift.float()


class Widened(nn.Module):
    """A product that is not rounded, among those that are: takes any dtype, and adds to a residual in float32, which is
    overwritten."""

    def __init__(
        self, weight: Tensor, bias: Tensor | None, activation: str | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self._dtype = dtype
        self._inner = linear(weight.to(dtype), None if bias is None else bias.to(dtype), activation)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        y: Tensor = self._inner(x.to(self._dtype))
        return y if residual is None else residual.add_(y)


class Observer:
    """What has come into the products of the layers of a float32 model: the range of each channel, and a sample of
    rows. May be shown several batches at once."""

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] = {}
        self._ranges: dict[str, tuple[Tensor, Tensor]] = {}
        self._sample: dict[
            str, tuple[Tensor, Tensor]
        ] = {}  # keys (rows,) that rows have by their content, and rows
        self._lock = threading.Lock()

    def observe(self, name: str, weight: Tensor, product: Any) -> ObservedLinear:
        """The product with this weight, which shows what comes in. Those with one name share a rounding."""
        self._weights.setdefault(name, weight)
        return ObservedLinear(product, name, self)

    def add(self, name: str, x: Tensor) -> None:
        """Rows (tokens, in) that come into the product called `name`."""
        low, high = x.aminmax(dim=0)
        rows = x[:: -(-len(x) // SAMPLED_OF_BATCH)].clone()
        keys = torch.tensor([crc32(row.tobytes()) for row in rows.numpy()])
        with self._lock:
            if name in self._ranges:
                low = torch.minimum(low, self._ranges[name][0])
                high = torch.maximum(high, self._ranges[name][1])
                keys = torch.cat([keys, self._sample[name][0]])
                rows = torch.cat([rows, self._sample[name][1]])
            self._ranges[name] = low, high
            first = keys.argsort(stable=True)[
                :SAMPLED_ROWS
            ]  # the same ones, in whatever order the batches came
            self._sample[name] = keys[first], rows[first]

    def roundings(self) -> dict[str, Rounding]:
        """The rounding that loses least of each product, but for those of which too much would be lost."""
        found = {name: self._best(name) for name in self._ranges}
        return {name: rounding for name, rounding in found.items() if rounding.lost <= MOST_LOST}

    def _best(self, name: str) -> Rounding:
        rows = self._sample[name][1]
        (low, high), weight = self._ranges[name], self._weights[name]
        if name.endswith(DOWN):
            return _all_alike(low, high, rows, weight)
        half = ((high - low) / 2).clamp_min(SMALLEST)
        tried = (_measured(low, high, half**power, rows, weight) for power in SMOOTHING)
        return min(tried, key=lambda rounding: rounding.lost)


def _all_alike(low: Tensor, high: Tensor, rows: Tensor, weight: Tensor) -> Rounding:
    """One factor and one offset, with as few channels as outliers as will do."""
    order = high.argsort(descending=True)
    tried = []
    for count in OUTLIERS:
        outliers = order[:count].sort().values
        top = high[order[count]][None]
        excess = (rows[:, outliers] - top).clamp_min(0)
        exact = rows @ weight.T
        beside = excess @ weight[:, outliers].T
        found = _measured(low.amin()[None], top, torch.ones(1), rows, weight, exact - beside)
        tried.append(replace(found, outliers=tuple(outliers.tolist())))
        if found.lost <= LITTLE_LOST:
            return tried[-1]
    return min(tried, key=lambda rounding: rounding.lost)


def _measured(
    low: Tensor, high: Tensor, smooth: Tensor, rows: Tensor, weight: Tensor, wanted: Tensor | None = None
) -> Rounding:
    """The rounding that divides the channels by `smooth`, and what it loses on rows (n, in) of a product that should
    be `wanted`."""
    half = (high - low) / 2
    factor = LEVELS / 2 / ((half / smooth).max() * smooth).clamp_min(SMALLEST)
    offset = (LEVELS / 2 - (low + half) * factor).round()  # so that zero stays zero
    q = torch.addcmul(offset, rows, factor).round_().clamp_(0, LEVELS)
    rounded, scales, shift = _rounded_weight(weight, factor, offset)
    exact = rows @ weight.T
    error = q @ rounded.float().T * scales + shift - (exact if wanted is None else wanted)
    return Rounding(factor.numpy(), offset.numpy(), float(error.norm() / exact.norm().clamp_min(SMALLEST)))


class Excess:
    """What outliers among the channels of a feed-forward have above the range that is rounded, through its second
    product: computed in float32, and added to a residual that is also what came into the first product."""

    def __init__(
        self, up: Tensor, bias: Tensor | None, activation: str | None, top: float, down: Tensor
    ) -> None:
        self._up, self._down, self._top = linear(up, bias, activation), linear(down, None), top

    def add_to(self, x: Tensor) -> Tensor:
        """(rows, hidden) -> (rows, hidden)"""
        y: Tensor = self._down((self._up(x) - self._top).clamp_min_(0), residual=x)
        return y


class ObservedLinear(nn.Module):
    """A product in float32 that shows what comes in."""

    def __init__(self, inner: Any, name: str, observer: Observer) -> None:
        super().__init__()
        self._inner, self._name, self._observer = inner, name, observer

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        self._observer.add(self._name, x)
        y: Tensor = self._inner(x, residual)
        return y

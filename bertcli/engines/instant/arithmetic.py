"""The functions of encoders in float32. Those that say so write into what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from bertcli.engines import Array


def softmax(x: Array, out: Array | None = None) -> Array:
    """exp(x) / Σ exp(x) over the last axis, written to `out` where that is given, which may be x. Computed as
    exp(x - max x), so that nothing overflows."""
    shares: Array = np.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=-1, keepdims=True)
    return shares


def normalise(x: Array, weight: Array, bias: Array | None, eps: float, *, rms: bool = False) -> Array:
    """Layer normalisation: mean 0 and variance 1 over a token's numbers, then scaled and shifted (Ba et al.
    2016). With `rms` the mean is left alone (Zhang and Sennrich 2019)."""
    x = x.copy() if rms else x - x.mean(axis=-1, keepdims=True)
    x /= np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + np.float32(eps))
    x *= weight
    if bias is not None:
        x += bias
    return x


def gelu(x: Array) -> Array:
    """x·Φ(x), Φ the normal distribution: x/2·(1 + erf(x/√2)), in place.

    erf by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: within 1.5e-7, a float32's own
    precision.
    """
    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * np.float32(1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail += np.float32(coefficient)
        tail *= t
    z *= -z
    tail *= np.exp(z, out=z)  # 1 - erf(|x|/√2)
    erf = np.copysign(1 - tail, x)
    erf += 1
    x *= erf
    x *= np.float32(0.5)
    return x


def gelu_by_tanh(x: Array) -> Array:
    """The approximation x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) that Google's first BERT used."""
    y: Array = np.square(x)  # a power of 3 takes NumPy ten times as long as two products
    y *= np.float32(0.044715 * (2 / np.pi) ** 0.5)
    y += np.float32((2 / np.pi) ** 0.5)
    y *= x
    np.tanh(y, out=y)
    y += 1
    y *= x
    y *= np.float32(0.5)
    return y


def silu(x: Array) -> Array:
    """x / (1 + exp(-x)), computed with tanh, which cannot overflow."""
    y: Array = np.tanh(np.float32(0.5) * x)
    y += 1
    y *= x
    y *= np.float32(0.5)
    return y


def relu(x: Array) -> Array:
    return np.maximum(x, 0, out=x)


def tanh(x: Array) -> Array:
    y: Array = np.tanh(x, out=x)
    return y


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_new": gelu_by_tanh,
    "gelu_pytorch_tanh": gelu_by_tanh,
    "relu": relu,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}

"""What sentence-transformers' modules make of a pooled vector, in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines.instant.arithmetic import gelu, silu
from bertcli.models.modules import Dense, LayerNorm, Module

if TYPE_CHECKING:
    from bertcli.engines import Array

LAYER_NORM_EPS = np.float32(1e-5)  # torch's own, which sentence-transformers leaves as it is
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": gelu,
    "SiLU": silu,
    "Sigmoid": lambda x: np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + 1),
}


def unit(vectors: Array) -> Array:
    """Vectors (…, hidden) divided by their lengths; a zero vector stays zero."""
    # as np.linalg.norm computes it, which takes most of the time of a single vector to begin
    lengths = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    shortened: Array = vectors / np.maximum(lengths, np.float32(1e-12))
    return shortened


def apply(modules: Sequence[Module], vector: Array) -> Array:
    """The vectors (…, numbers out) that `modules` make of others (…, numbers in)."""
    for module in modules:
        match module:
            case Dense():
                vector = _dense(module, vector)
            case LayerNorm():
                vector = _layer_norm(module, vector)
            case _:
                vector = unit(vector)
    return vector


def _dense(module: Dense, x: Array) -> Array:
    bias = module.bias()
    y: Array = x @ module.weight().T
    if bias is not None:
        y = y + bias
    y = ACTIVATIONS[module.activation](y)
    if module.residual:
        own = module.residual_weight()
        y = y + (x if own is None else x @ own.T)
    return y


def _layer_norm(module: LayerNorm, x: Array) -> Array:
    x = x - x.mean(axis=-1, keepdims=True)
    y: Array = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + LAYER_NORM_EPS)
    return y * module.weights.read("norm.weight") + module.weights.read("norm.bias")

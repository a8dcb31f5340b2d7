"""The modules that sentence-transformers runs on a pooled vector: Dense, LayerNorm, Normalize.

Each has a folder of its own in the checkpoint, with a config.json and, but for Normalize, weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli.errors import ModelError
from bertcli.models.jsonfile import read_optional
from bertcli.models.weights import Weights, open_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VECTOR = "sentence_embedding"  # what sentence-transformers calls the pooled vector
TOKENS = "token_embeddings"  # and the hidden states
# Names of torch's classes, whose arguments are those that torch gives them unasked.
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
DEFAULT_ACTIVATION = "Tanh"  # also in the place of a class outside torch, which could be any program


class UnsupportedError(Exception):
    """A module that bertcli does not compute; the message says which, in words."""


@dataclass(frozen=True, slots=True)
class Dense:
    """activation(W·x + b), and x, or V·x, added to it where it is `residual`."""

    weights: Weights
    activation: str
    residual: bool

    @property
    def shape(self) -> tuple[int, int]:
        """(numbers out, numbers in)"""
        rows, columns = self.weights.shape("linear.weight")
        return rows, columns

    def weight(self) -> NDArray[np.float32]:
        """W: (numbers out, numbers in)"""
        return self.weights.read("linear.weight")

    def bias(self) -> NDArray[np.float32] | None:
        """b: (numbers out,)"""
        return self._optional("linear.bias")

    def residual_weight(self) -> NDArray[np.float32] | None:
        """V: (numbers out, numbers in)"""
        return self._optional("residual.weight")

    def _optional(self, name: str) -> NDArray[np.float32] | None:
        return self.weights.read(name) if name in self.weights else None


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """The vector with mean 0 and variance 1, scaled and shifted."""

    weights: Weights

    @property
    def shape(self) -> tuple[int, int]:
        """(numbers out, numbers in)"""
        (size,) = self.weights.shape("norm.weight")
        return size, size


@dataclass(frozen=True, slots=True)
class Normalize:
    """The vector divided by its length."""


Module = Dense | LayerNorm | Normalize


def read_module(kind: str, folder: Path, source: str = VECTOR) -> Module | None:
    """The module of class `kind` in a folder, None for one that changes nothing outside training. It computes on
    `source`, the pooled vector or the hidden states.

    Raises UnsupportedError for any other, and for one whose files do not hold what it needs.
    """
    match kind:
        case "Dropout" | "Identity":
            return None
        case "Normalize":
            _refuse_other_input(kind, _config(folder), source, VECTOR)
            return Normalize()
        case "LayerNorm":
            return LayerNorm(_weights(kind, folder, {"norm.weight": 1, "norm.bias": 1}))
        case "Dense":
            return _read_dense(folder, source)
    raise UnsupportedError(f"a {kind} module after the pooling")


def _read_dense(folder: Path, source: str) -> Dense:
    config = _config(folder)
    _refuse_other_input("Dense", config, source, source)
    path = str(config.get("activation_function", DEFAULT_ACTIVATION))
    package, _, name = path.rpartition(".")
    activation = name if package.partition(".")[0] == "torch" else DEFAULT_ACTIVATION
    if activation not in ACTIVATIONS:
        raise UnsupportedError(f"a Dense module with the activation {path}")
    shapes = {"linear.weight": 2}
    if config.get("bias", True):
        shapes["linear.bias"] = 1
    residual = bool(config.get("use_residual"))
    if residual and config.get("in_features") != config.get("out_features"):
        shapes["residual.weight"] = 2
    dense = Dense(_weights("Dense", folder, shapes), activation, residual)
    if dense.shape != (config.get("out_features"), config.get("in_features")):
        raise UnsupportedError(f"a Dense module whose config.json and weights differ in size ({folder.name})")
    return dense


def _config(folder: Path) -> dict[str, Any]:
    return read_optional(folder / "config.json", dict) or {}


def _refuse_other_input(kind: str, config: Mapping[str, Any], source: str, default: str) -> None:
    """What a module reads and writes must be `source`; it is `default` where the files do not say."""
    taken = config.get("module_input_name", default)
    given = config.get("module_output_name") or taken
    if (taken, given) != (source, source):
        raise UnsupportedError(f"a {kind} module from {taken} to {given}")


def _weights(kind: str, folder: Path, dimensions: Mapping[str, int]) -> Weights:
    """The weights in a folder, which hold at least tensors of so many dimensions."""
    try:
        weights = open_weights(folder)
    except ModelError as error:
        raise UnsupportedError(f"a {kind} module without weights ({folder.name})") from error
    if weights.pickle:
        raise UnsupportedError(
            f"a {kind} module whose weights are a pickle ({folder.name}/{weights.files[0].name}; a newer"
            " sentence-transformers saves safetensors)"
        )
    if weights.faults:
        raise UnsupportedError(
            f"a {kind} module whose weights are damaged ({folder.name}: {weights.faults[0]})"
        )
    for name, count in dimensions.items():
        if name not in weights or len(weights.shape(name)) != count:
            raise UnsupportedError(f"a {kind} module whose weights lack {name} ({folder.name})")
    return weights

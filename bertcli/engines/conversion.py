"""Weights of a checkpoint as a safetensors file: those of a pickle, and those that an adapter changes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from bertcli.errors import EngineError, first_line

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint

FILE = "model.safetensors"
_DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}


def write_weights(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the weights into `folder`: safetensors files as they are, else one file.

    A weight that an adapter changes becomes float32. Raises EngineError for a pickle that holds anything but weights.
    """
    weights = checkpoint.weights
    if weights.pickle:
        tied = checkpoint.decoder_weight if checkpoint.config.get("tie_word_embeddings", True) else None
        write_pickled(weights.files, folder, tied)
    elif checkpoint.adapter is not None:
        tensors = {
            name: torch.from_numpy(weights.read(name).copy()).to(_DTYPES[weights.dtype(name)])
            for name in weights.floats
        }
        _save(tensors, folder)
    else:
        for file in [*weights.files, *checkpoint.path.glob("model.safetensors.index.json")]:
            shutil.copyfile(file, folder / file.name)


def write_pickled(files: Sequence[Path], folder: Path, tied: str | None = None) -> None:
    """Write the tensors of pickles, without the one called `tied` if it shares its memory with another."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _unpickled(file)
    if tied in tensors and any(
        name != tied and other.data_ptr() == tensors[tied].data_ptr() for name, other in tensors.items()
    ):
        del tensors[tied]
    _save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, folder)


def _unpickled(file: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, loaded weights-only: no program in it is run."""
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of any kind: the file can be anything
        raise EngineError(f"{file} cannot be loaded as weights alone: {first_line(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise EngineError(f"{file} holds more than the weights of a model")
    return found


def _save(tensors: dict[str, Tensor], folder: Path) -> None:
    save_file(tensors, folder / FILE, metadata={"format": "pt"})

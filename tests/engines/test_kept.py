"""Weights that are kept are those of the file, whatever their dtype, and whoever reads them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bertcli.engines.kept import Kept
from bertcli.errors import ModelError
from bertcli.models.weights import Weights, open_weights


@pytest.fixture
def mixed(tmp_path: Path) -> Weights:
    torch.manual_seed(3)
    tensors = {
        f"{dtype}.{number}": torch.randn(7, 3 + number, dtype=getattr(torch, dtype))
        for dtype in ("float16", "bfloat16", "float32", "float64")
        for number in range(5)
    }
    save_file(tensors | {"ids": torch.arange(9)}, tmp_path / "model.safetensors")
    return open_weights(tmp_path)


def test_what_is_kept_is_what_the_file_holds(mixed: Weights) -> None:
    names = [name for name in mixed if name != "ids"]
    kept = Kept(mixed)
    for name in [*reversed(names), *names]:
        assert kept.read(name).shape == mixed.shape(name)
        np.testing.assert_array_equal(kept.read(name), mixed.read(name))


def test_a_tensor_is_read_once(mixed: Weights) -> None:
    kept = Kept(mixed)
    for name in ("float16.2", "float32.2"):
        assert kept.read(name) is kept.read(name)


def test_no_thread_uses_what_another_is_still_writing(tmp_path: Path) -> None:
    save_file({"w": torch.randn(1 << 20, dtype=torch.float16)}, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    expected = weights.read("w")
    for _ in range(10):
        kept = Kept(weights)
        with ThreadPoolExecutor(4) as pool:
            reads = [
                pool.submit(lambda kept=kept: np.array_equal(kept.read("w"), expected)) for _ in range(4)
            ]
            assert all(read.result() for read in reads)


def test_what_is_no_weight_is_refused(mixed: Weights) -> None:
    for name in ("ids", "absent"):
        with pytest.raises(ModelError):
            Kept(mixed).read(name)

"""Weights that are kept are those of the file, whatever their dtype, and whoever reads them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bertcli.engines.weight_cache import WeightCache
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
    kept = WeightCache(mixed)
    for name in [*reversed(names), *names]:
        assert kept.read(name).shape == mixed.shape(name)
        np.testing.assert_array_equal(kept.read(name), mixed.read(name))


def test_a_tensor_is_read_once(mixed: Weights) -> None:
    kept = WeightCache(mixed)
    for name in ("float16.2", "float32.2"):
        assert kept.read(name) is kept.read(name)


def test_no_thread_uses_what_another_is_still_writing(tmp_path: Path) -> None:
    save_file({"w": torch.randn(1 << 20, dtype=torch.float16)}, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    expected = weights.read("w")
    for _ in range(10):
        kept = WeightCache(weights)
        with ThreadPoolExecutor(4) as pool:
            reads = [
                pool.submit(lambda kept=kept: np.array_equal(kept.read("w"), expected)) for _ in range(4)
            ]
            assert all(read.result() for read in reads)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 5), (900, 384), (85, 1536), (1, 200_000)])
def test_a_product_is_the_same_whether_the_weight_is_kept_or_not(
    tmp_path: Path, dtype: str, shape: tuple[int, int]
) -> None:
    save_file({"w": torch.randn(shape, dtype=getattr(torch, dtype))}, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    kept = WeightCache(weights)
    x = np.random.default_rng(0).normal(size=(2, 3, shape[1])).astype(np.float32)
    first, second, third = (kept.product(x, "w") for _ in range(3))
    np.testing.assert_allclose(first, x @ weights.read("w").T, rtol=1e-4, atol=1e-2)
    assert first.tobytes() == second.tobytes() == third.tobytes()


def test_a_weight_that_is_used_once_is_not_kept(mixed: Weights) -> None:
    kept = WeightCache(mixed)
    x = np.ones((1, 5), np.float32)
    kept.product(x, "float16.2")
    assert "float16.2" not in kept._tensors
    kept.product(x, "float16.2")
    assert "float16.2" in kept._tensors


def test_products_in_several_threads_do_not_disturb_each_other(tmp_path: Path) -> None:
    names = [f"w{number}" for number in range(20)]
    tensors = {name: torch.randn(700, 384, dtype=torch.float16) for name in names}
    save_file(tensors, tmp_path / "model.safetensors")
    weights = open_weights(tmp_path)
    x = np.ones((2, 384), np.float32)
    expected = {name: WeightCache(weights).product(x, name).tobytes() for name in names}
    kept = WeightCache(weights)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: kept.product(x, name).tobytes(), names * 4))
    assert found == [expected[name] for name in names * 4]


def test_what_is_no_weight_is_refused(mixed: Weights) -> None:
    for name in ("ids", "absent"):
        with pytest.raises(ModelError):
            WeightCache(mixed).read(name)

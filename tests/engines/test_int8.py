"""Products in whole numbers: near the exact ones, and the same bits for a row in whatever batch."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bertcli.engines import Hidden, SequenceLogits, int8
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import open_checkpoint
from tests.conftest import Make
from tests.engines.calibrated import open_packed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not int8.has_int8_products(), reason="no AVX-512 VNNI"),
]

HIDDEN, INNER = 48, 96


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounding_of(x: Tensor, weight: Tensor, name: str = "up") -> int8.Rounding:
    observer = int8.Observer()
    observer.observe(name, weight, lambda x, residual: x)(x)
    return observer.roundings()[name]


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(1, 600), scale=st.floats(1e-3, 1e3), shift=st.floats(-3, 3), seed=st.integers(0, 99))
def test_products_are_near_and_know_no_neighbours(rows: int, scale: float, shift: float, seed: int) -> None:
    uneven = 10 ** drawn(HIDDEN, seed=seed + 1).clamp(-1, 1)  # channels of very different range
    x = (drawn(rows, HIDDEN, seed=seed) * uneven + shift) * scale
    weight, bias, residual = drawn(32, HIDDEN, seed=2), drawn(32, seed=3), drawn(rows, 32, seed=4)
    product = int8.Int8Linear(weight, bias, None, rounding_of(x, weight), dtype=torch.float32)
    exact = x @ weight.T + bias + residual
    found = product(x, residual.clone())
    assert (found - exact).norm() < 0.03 * (x @ weight.T).norm() + 1e-4
    place = rows // 2
    assert torch.equal(product(x[[place]], residual[[place]])[0], found[place])


def feed_forward(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """What the two products of a feed-forward make of x in int8, and add to it."""
    inner = torch.nn.functional.gelu(x @ up.T)
    after = rounding_of(inner, down, "down")
    excess = int8.Excess(
        up[list(after.outliers)], None, "gelu", after.top, down[:, list(after.outliers)].contiguous()
    )
    first = int8.Int8Linear(up, None, "gelu", rounding_of(x, up), dtype=torch.bfloat16, onto=after)
    second = int8.Int8Linear(down, None, None, after, dtype=torch.bfloat16, excess=excess)
    rounded = first(x)
    assert rounded.dtype == torch.uint8
    return second(rounded, x.clone())


def test_outliers_of_a_feed_forward_are_computed_beside() -> None:
    x, up, down = drawn(256, HIDDEN, seed=1), drawn(INNER, HIDDEN, seed=2) / 7, drawn(HIDDEN, INNER, seed=3)
    up[5] *= 40  # one channel far above all others
    exact = torch.nn.functional.gelu(x @ up.T) @ down.T
    found = feed_forward(x, up, down) - x
    assert (found - exact).norm() < 0.03 * exact.norm()
    assert rounding_of(torch.nn.functional.gelu(x @ up.T), down, "down").outliers == (5,)


def test_the_sample_is_small_and_does_not_depend_on_the_order_of_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(int8, "SAMPLED_ROWS", 300)
    x, weight = drawn(2000, HIDDEN, seed=1), drawn(32, HIDDEN, seed=2)
    found = []
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1]):
        observer = int8.Observer()
        observed = observer.observe("up", weight, lambda x, residual: x)
        for number in order:
            observed(x[400 * number :][:400])
        assert len(observer._sample["up"][1]) == 300
        found.append(int8.roundings_as_bytes(observer.roundings()))
    assert found[0] == found[1]


def test_what_exceeds_the_range_of_the_sample_is_cut() -> None:
    x, weight = drawn(64, HIDDEN, seed=1), torch.eye(HIDDEN)
    product = int8.Int8Linear(weight, None, None, rounding_of(x, weight), dtype=torch.float32)
    found = product(torch.full((1, HIDDEN), 1e6))
    assert (found < 2 * x.max()).all()
    assert (found > 0).all()


def test_a_product_that_would_lose_too_much_is_not_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = drawn(64, HIDDEN, seed=1), drawn(32, HIDDEN, seed=2)
    lost = rounding_of(x, weight).lost
    assert 0 < lost < int8.MOST_LOST
    monkeypatch.setattr(int8, "MOST_LOST", lost / 2)
    with pytest.raises(KeyError):
        rounding_of(x, weight)


@pytest.mark.parametrize("left_out", ["down", "up", "query_key_value"])
def test_an_encoder_computes_with_some_products_as_they_were(checkpoints: Make, left_out: str) -> None:
    checkpoint = open_checkpoint(checkpoints("bert"))
    from tests.engines.windows import make_windows

    windows = make_windows(checkpoint)
    exact = Packed(checkpoint, device="cpu", dtype="float32").forward(windows, Hidden())
    roundings = {
        name: rounding
        for name, rounding in open_packed(checkpoint, "int8")._model._roundings.items()  # type: ignore[attr-defined]
        if not name.endswith(left_out)
    }
    found = Packed(checkpoint, device="cpu", dtype="int8", roundings=roundings).forward(windows, Hidden())
    for one, other in zip(exact, found, strict=True):
        assert np.linalg.norm(one - other) < 0.05 * np.linalg.norm(one)


@pytest.mark.parametrize(
    ("dtype", "amx", "worth"),
    [
        (
            torch.float32,
            False,
            {"query_key_value", "out", "up", "down", "large up", "large down", "large out"},
        ),
        (torch.bfloat16, False, {"query_key_value", "up", "down", "large up", "large down"}),
        (torch.bfloat16, True, {"large up", "large down"}),
    ],
)
def test_what_is_rounded_depends_on_what_the_processor_multiplies_fast(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, amx: bool, worth: set[str]
) -> None:
    monkeypatch.setattr(int8, "choose_dtype", lambda name, device: dtype)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    small, large = torch.empty(HIDDEN, INNER), torch.empty(768, 3072)
    found = {role for role in get_args(int8.Role) if int8.is_worth_rounding(role, small)}
    found |= {f"large {role}" for role in ("up", "down", "out") if int8.is_worth_rounding(role, large)}
    assert found == worth


def test_where_nothing_is_rounded_answers_are_those_of_the_dtype_around(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert"))
    from tests.engines.windows import make_windows

    windows = make_windows(checkpoint)
    found = Packed(checkpoint, device="cpu", dtype="int8", roundings={}).forward(windows, Hidden())
    wanted = Packed(checkpoint, device="cpu", dtype="auto").forward(windows, Hidden())
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_the_last_layer_rounds_nothing_of_the_one_row_that_is_read(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert", "label", labels=("a", "b")))
    from tests.engines.windows import make_windows

    windows, ask = make_windows(checkpoint), SequenceLogits(checkpoint.head("label"))
    right = dict(open_packed(checkpoint, "int8")._model._roundings)  # type: ignore[attr-defined]
    place = f"layer.{checkpoint.layers - 1}."
    wrong = {
        name: replace(rounding, factor=rounding.factor * 50)
        if place in name and not name.endswith("query_key_value")
        else rounding
        for name, rounding in right.items()
    }
    engines = [Packed(checkpoint, device="cpu", dtype="int8", roundings=each) for each in (right, wrong)]
    labels = [engine.forward(windows, ask) for engine in engines]
    assert all(np.array_equal(one, other) for one, other in zip(*labels, strict=True))
    states = [engine.forward(windows, Hidden()) for engine in engines]
    assert not any(np.array_equal(one, other) for one, other in zip(*states, strict=True))


def test_roundings_are_written_and_read() -> None:
    x, weight = drawn(64, HIDDEN, seed=1), drawn(32, HIDDEN, seed=2)
    one = rounding_of(x, weight)
    roundings = {"b.up": one, "a.down": replace(one, outliers=(3, 7))}
    data = int8.roundings_as_bytes(roundings)
    assert data == int8.roundings_as_bytes(dict(reversed(roundings.items())))
    read = int8.roundings_from_bytes(data)
    assert read.keys() == roundings.keys()
    for name, rounding in roundings.items():
        assert (read[name].factor == rounding.factor).all()
        assert (read[name].offset == rounding.offset).all()
        assert (read[name].lost, read[name].outliers) == (rounding.lost, rounding.outliers)
    assert int8.roundings_from_bytes(int8.roundings_as_bytes({})) == {}

"""Dropout that draws bytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from bertcli.training.dropout import ByteDropout, byte_dropout
from bertcli.training.machine import Machine


@pytest.mark.parametrize("p", [0.001, 0.1, 0.3, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_that_is_dropped_and_the_mean(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    ones = torch.ones(401, 501, dtype=dtype, requires_grad=True)
    found = byte_dropout(ones, p)
    dropped = min(max(1, round(p * 256)), 255) / 256
    assert found.dtype == dtype
    assert float((found == 0).float().mean()) == pytest.approx(dropped, abs=0.005)
    torch.testing.assert_close(found[found != 0].unique(), torch.tensor([1 / (1 - dropped)], dtype=dtype))
    found.sum().backward()
    assert torch.equal(ones.grad, found)


def test_what_is_not_dropped_stays() -> None:
    numbers = torch.randn(3, 5)
    assert byte_dropout(numbers, 0.3, training=False) is numbers
    assert byte_dropout(numbers, 0.0) is numbers


def test_modules_of_torch_draw_bytes_within_a_forward_pass() -> None:
    numbers = torch.randn(7, 9)
    layer = nn.Dropout(0.3)
    torch.manual_seed(2)
    expected = byte_dropout(numbers, 0.3)
    torch.manual_seed(2)
    with Machine.choose("cpu", "float32", 0).forward_pass():
        assert torch.equal(layer(numbers), expected)
        assert torch.equal(layer.eval()(numbers), numbers)
    torch.manual_seed(2)
    usual = functional.dropout(numbers, 0.3)
    torch.manual_seed(2)
    assert torch.equal(layer.train()(numbers), usual)


def test_other_functions_are_those_of_torch() -> None:
    numbers = torch.randn(2, 3)
    with ByteDropout():
        assert torch.equal(functional.relu(numbers), numbers.clamp_min(0))

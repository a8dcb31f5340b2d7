"""Cross-entropy of a projection, computed some rows at a time."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from bertcli.training import linear_cross_entropy as module
from bertcli.training.linear_cross_entropy import linear_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("rows", [1, 4, 11, 100])
def test_loss_and_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, smoothing: float, rows: int
) -> None:
    monkeypatch.setattr(module, "CHUNK", 37 * rows)
    torch.manual_seed(3)
    hidden, weight = torch.randn(11, 8, requires_grad=True), torch.randn(37, 8, requires_grad=True)
    target = torch.randint(37, (11,))
    usual = functional.cross_entropy(hidden @ weight.T, target, reduction="sum", label_smoothing=smoothing)
    expected = torch.autograd.grad(usual / 11, (hidden, weight))
    loss = linear_cross_entropy(hidden, weight, target, smoothing)
    torch.testing.assert_close(loss, usual)
    torch.testing.assert_close(torch.autograd.grad(loss / 11, (hidden, weight)), expected)
    for without in (torch.inference_mode, torch.no_grad):
        with without():
            measured = linear_cross_entropy(hidden, weight, target, smoothing)
        torch.testing.assert_close(measured, usual)
        assert not measured.requires_grad


def test_autocast_decides_the_dtype_of_the_products() -> None:
    torch.manual_seed(3)
    hidden, weight = torch.randn(50, 8, requires_grad=True), torch.randn(37, 8, requires_grad=True)
    target = torch.randint(37, (50,))
    exact = linear_cross_entropy(hidden, weight, target, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        near = linear_cross_entropy(hidden, weight, target, 0.1)
    assert near.dtype == torch.float32
    assert near != exact
    assert near.item() == pytest.approx(exact.item(), rel=1e-2)
    gradients = [torch.autograd.grad(loss, (hidden, weight)) for loss in (exact, near)]
    for one, other in zip(*gradients, strict=True):
        assert other.dtype == torch.float32
        assert torch.cosine_similarity(one.flatten(), other.flatten(), dim=0) > 0.999

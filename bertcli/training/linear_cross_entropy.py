"""Cross-entropy of a projection onto a vocabulary, some rows at a time.

The logits of a batch are its largest tensors: 4 096 tokens and 8 000 pieces are 131 MB. Here logits become a loss and
gradients while they are in the processor's caches, and are forgotten (Hsu et al. 2024, "Liger Kernel", section 3.2).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 21  # logits of some rows: 8 MB in float32


def linear_cross_entropy(hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy of `hidden @ weight.T`, (N, d) and (V, d), summed over the targets, (N,); `smoothing` is
    label smoothing as in `torch.nn.functional.cross_entropy`. The products are computed in autocast's dtype."""
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, target, smoothing, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradients are computed with the loss, for a loss whose own gradient is 1, and scaled on the way back."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, learns: bool
    ) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        inputs, table = hidden.to(dtype), weight.to(dtype)
        of_hidden, of_weight = (torch.zeros_like(each) if learns else None for each in (inputs, weight))
        loss = hidden.new_zeros((), dtype=torch.float32)
        size = len(weight)
        rows = max(1, CHUNK // size)
        for start in range(0, len(hidden), rows):
            part, wanted = inputs[start : start + rows], target[start : start + rows, None]
            log_p = (part @ table.T).float().log_softmax(1)
            loss -= (1 - smoothing) * log_p.gather(1, wanted).sum() + smoothing / size * log_p.sum()
            if of_hidden is not None and of_weight is not None:
                # softmax less the smoothed target
                change = log_p.exp_().sub_(smoothing / size)
                change.scatter_add_(1, wanted, change.new_full(wanted.shape, smoothing - 1))
                of_logits = change.to(dtype)
                of_hidden[start : start + rows] = of_logits @ table
                of_weight += of_logits.T @ part
        if of_hidden is not None and of_weight is not None:
            ctx.save_for_backward(of_hidden.to(hidden.dtype), of_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        of_hidden, of_weight = ctx.saved_tensors
        return of_hidden * gradients[0], of_weight * gradients[0], None, None, None

"""Dropout that draws one byte a number.

On CPUs torch draws each number of a mask by itself, in one thread, which takes a fifth of the time of a step in
training. One draw of 64 bits decides for eight numbers here. The share that is dropped is therefore a multiple of
1/256: for 0.1 it is 26/256.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

LEVELS = 256  # values of a byte


class ByteDropout(TorchFunctionMode):
    """Within it, `torch.nn.functional.dropout` draws bytes, from torch's generator."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        return (byte_dropout if func is functional.dropout else func)(*args, **kwargs)


def byte_dropout(
    input: Tensor,  # noqa: A002 - the name that torch's function has
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    """`torch.nn.functional.dropout` on a CPU, never in place; `p` is rounded to a multiple of 1/256 between 0 and 1."""
    if not training or not p:
        return input
    dropped = min(max(1, round(p * LEVELS)), LEVELS - 1)
    draws = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.uint8)[: input.numel()].view(input.shape)
    return input * (levels >= dropped).to(input.dtype).mul_(LEVELS / (LEVELS - dropped))

"""Low-rank changes of an encoder that one head alone uses (LoRA, Hu et al. 2021, arXiv 2106.09685).

Every linear layer of the encoder's blocks computes W·x + up·(down·x) for the head that owns the adapter, and W·x for
all others: a head can learn what the encoder does not compute, and no other head changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS = re.compile(r"encoder\.layer\.\d+\.")
DOT = "/"  # instead of a dot, which names of parameters cannot have


class HeadAdapter(nn.Module):
    """`down` (rank, in) is drawn at random and `up` (out, rank) is 0, so that training begins with the encoder as it
    is. Raises ValueError for an encoder without BERT's blocks."""

    def __init__(self, encoder: nn.Module, rank: int) -> None:
        super().__init__()
        self._layers = {
            name: module
            for name, module in encoder.named_modules()
            if isinstance(module, nn.Linear) and BLOCKS.match(name)
        }
        if not self._layers:
            raise ValueError("the encoder has no blocks named as BERT's")
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, module in self._layers.items():
            key = name.replace(".", DOT)
            self.down[key] = torch.randn(rank, module.in_features) / module.in_features**0.5
            self.up[key] = torch.zeros(module.out_features, rank)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The encoder computes with the changes while the block runs."""
        handles = [
            module.register_forward_hook(self._hook(name.replace(".", DOT)))
            for name, module in self._layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, key: str) -> Any:
        down, up = self.down[key], self.up[key]

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + functional.linear(functional.linear(inputs[0], down), up)

        return add

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """The factors by the names they have on disk: `{weight of the encoder}.down` and `.up`. `prefix` is what stands
        before the encoder's weights."""
        return {
            f"{prefix}{key.replace(DOT, '.')}.weight.{part}": value
            for part, factors in (("down", self.down), ("up", self.up))
            for key, value in factors.items()
        }

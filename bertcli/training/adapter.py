"""Changes of an encoder that one head alone uses: a head can learn what the encoder does not compute, and no other head
changes.

* Low-rank updates (LoRA, Hu et al. 2021, arXiv 2106.09685): every linear layer of the encoder's blocks computes
  W·x + up·(down·x) for the head that owns the adapter, and W·x for all others.
* A table of token types of its own, with more rows than the encoder's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bertcli.models.heads import adapter_tensor, token_types_tensor

BLOCKS = re.compile(r"encoder\.layer\.\d+\.")
DOT = "/"  # instead of a dot, which names of parameters cannot have


class HeadAdapter(nn.Module):
    """Low-rank updates of rank `rank`, and a table of token types with `more_types` rows behind those of the encoder; 0
    leaves either out.

    `down` (rank, in) is drawn at random, `up` (out, rank) is 0, and each new row is the encoder's first one, so that
    training begins with the encoder as it is. Raises ValueError for an encoder without BERT's blocks."""

    def __init__(self, encoder: Any, rank: int, more_types: int = 0) -> None:
        super().__init__()
        self._layers = {
            name: module
            for name, module in encoder.named_modules()
            if isinstance(module, nn.Linear) and BLOCKS.match(name)
        }
        if not self._layers:
            raise ValueError("the encoder has no blocks named as BERT's")
        self._embeddings = (encoder.embeddings,)  # in a tuple: a module here would be a part of this one
        own = encoder.embeddings.token_type_embeddings.weight.detach()
        self.token_types = (
            nn.Parameter(torch.cat([own, own[:1].repeat(more_types, 1)])) if more_types else None
        )
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, module in self._layers.items() if rank else ():
            key = name.replace(".", DOT)
            self.down[key] = torch.randn(rank, module.in_features) / module.in_features**0.5
            self.up[key] = torch.zeros(module.out_features, rank)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The encoder computes with the changes while the block runs."""
        handles = [
            module.register_forward_hook(self._hook(key))
            for name, module in self._layers.items()
            if (key := name.replace(".", DOT)) in self.down
        ]
        types = self._embeddings[0].token_type_embeddings
        table = types.weight
        if self.token_types is not None:
            types.weight = self.token_types
        try:
            yield
        finally:
            types.weight = table
            for handle in handles:
                handle.remove()

    def begin_as(self, changes: Mapping[str, Tensor]) -> None:
        """Begin with the best approximation of what full training changed in each weight of the encoder, `changes`
        (out, in) by its name: the largest singular values (Eckart and Young 1936)."""
        for key in self.down:
            u, s, v = torch.linalg.svd(changes[f"{key.replace(DOT, '.')}.weight"], full_matrices=False)
            rank = len(self.down[key])
            root = s[:rank].sqrt()
            with torch.no_grad():
                self.up[key].copy_(u[:, :rank] * root)
                self.down[key].copy_(root[:, None] * v[:rank])

    def weight_names(self) -> list[str]:
        """The names of the encoder's weights that get low-rank updates."""
        return [f"{key.replace(DOT, '.')}.weight" for key in self.down]

    def _hook(self, key: str) -> Any:
        down, up = self.down[key], self.up[key]

        def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return output + functional.linear(functional.linear(inputs[0], down), up)

        return add

    def tensors(self, head: str, encoder_prefix: str) -> dict[str, Tensor]:
        """The parts of the adapter of a head by their names on disk; `encoder_prefix` is what stands before the
        encoder's weights."""
        factors = {
            adapter_tensor(head, f"{encoder_prefix}{key.replace(DOT, '.')}.weight", part): value
            for part, values in self._factors().items()
            for key, value in values.items()
        }
        return factors if self.token_types is None else factors | {token_types_tensor(head): self.token_types}

    def _factors(self) -> Mapping[Literal["down", "up"], nn.ParameterDict]:
        return {"down": self.down, "up": self.up}

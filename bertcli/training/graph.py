"""The encoder of several skills, run as it is or compiled, a graph for every shape of batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from bertcli.training.heads import SkillModel

MOST_SHAPES = 64  # as many as buckets, for fill and for the rest


class Graphs:
    """`encode(ids, mask, types)`, and `fill(ids, mask, types, positions, targets)`: the masked-LM loss, so
    that a compiler sees it with the encoder."""

    def __init__(self, model: SkillModel, *, compiled: bool) -> None:
        self.encode: Callable[[Tensor, Tensor | None, Tensor | None], Tensor] = model.encode
        self.fill: Callable[[Tensor, Tensor | None, Tensor | None, Tensor, Tensor], Tensor] = self._fill
        self._model = model
        if compiled:
            import torch._dynamo

            torch._dynamo.config.recompile_limit = MOST_SHAPES
            self.encode = torch.compile(self.encode, dynamic=False)
            self.fill = torch.compile(self.fill, dynamic=False)

    def _fill(
        self, ids: Tensor, mask: Tensor | None, types: Tensor | None, positions: Tensor, targets: Tensor
    ) -> Tensor:
        states = self._model.encode(ids, mask, types).flatten(0, 1)[positions]  # [masked, hidden]
        return functional.cross_entropy(self._model.vocabulary_logits(states).float(), targets)

"""The encoder of several skills, run as it is or compiled, a graph for every shape of batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from bertcli.training.heads import SkillModel
from bertcli.training.streams import Batch

MOST_SHAPES = 64  # as many as buckets, for fill and for the rest


class Graphs:
    """`encode(ids, mask, types)`, and `fill(ids, mask, types, positions, targets)`: the masked-LM loss, so
    that a compiler sees it with the encoder."""

    def __init__(self, model: SkillModel, *, compiled: bool, workers: int) -> None:
        self.encode: Callable[[Tensor, Tensor | None, Tensor | None], Tensor] = model.encode
        self.fill: Callable[[Tensor, Tensor | None, Tensor | None, Tensor, Tensor], Tensor] = self._fill
        self._model = model
        self._compiled = compiled
        self._shapes: set[tuple[int, ...]] = set()
        if compiled:
            import torch._dynamo
            import torch._inductor.config

            torch._dynamo.config.recompile_limit = MOST_SHAPES
            if workers > 1:
                torch._inductor.config.cpp.threads = 1
            self.encode = torch.compile(self.encode, dynamic=False)
            self.fill = torch.compile(self.fill, dynamic=False)

    def is_new(self, batch: Batch) -> bool:
        """Whether there is no graph yet for the shape of the batch; the next time there is."""
        if not self._compiled:
            return False
        chosen = 0 if batch.positions is None else len(batch.positions)
        shape = (*batch.ids.shape, chosen, int(batch.mask is None))
        is_new = shape not in self._shapes
        self._shapes.add(shape)
        return is_new

    def _fill(
        self, ids: Tensor, mask: Tensor | None, types: Tensor | None, positions: Tensor, targets: Tensor
    ) -> Tensor:
        states = self._model.encode(ids, mask, types).flatten(0, 1)[positions]  # [masked, hidden]
        return functional.cross_entropy(self._model.vocabulary_logits(states).float(), targets)

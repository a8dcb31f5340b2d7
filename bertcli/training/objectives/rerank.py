"""rerank: how relevant a text is to a query, read together (Nogueira and Cho 2019, https://arxiv.org/abs/1901.04085)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bertcli.training.batches import ShuffledBatches, TrainingBatch, pad
from bertcli.training.network import HeadSpec, Network
from bertcli.training.objectives import Context
from bertcli.training.validation import Validation, of_rankings

if TYPE_CHECKING:
    from bertcli.training.dataset import Split
    from bertcli.training.recipe import RerankSettings


class RerankObjective:
    """Binary cross-entropy of the sigmoid of one output with the relevance, which is from 0 to 1. The text of an
    example is its query."""

    def __init__(self, settings: RerankSettings, split: Split, context: Context, seed: int) -> None:
        self.settings, self._context = settings, context
        self.head = HeadSpec("label", ("LABEL_0",))
        self._train, self._dev = (
            context.windows([e.text for e in part], [e.pair for e in part], settings.max_length)
            for part in (split.train, split.dev)
        )
        self._targets, self._dev_targets = (
            torch.tensor([float(e.target) for e in part]) for part in (split.train, split.dev)
        )
        queries = {query: number for number, query in enumerate(dict.fromkeys(e.text for e in split.dev))}
        self._dev_queries = np.array([queries[e.text] for e in split.dev], np.int64)
        self.train_size, self.dev_size = len(self._train), len(self._dev)
        lengths = [len(one) for one in self._train]
        self._order = ShuffledBatches(lengths, settings.batch_tokens, seed, context.max_rows)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        chosen = self._order(number)
        inputs = pad([self._train[i] for i in chosen], self._context.machine.pad_id)
        return TrainingBatch(inputs, self._targets[chosen])

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        return _loss(network.logits(self.settings.name, batch.inputs)[:, 0], batch.targets)

    def validate(self, network: Network) -> Validation | None:
        """All held-out texts of a query are ordered."""
        if not self._dev:
            return None
        logits = self._context.compute(
            network, self._dev, lambda inputs: network.logits(self.settings.name, inputs)
        )[:, 0]
        loss = float(_loss(logits, self._dev_targets))
        return of_rankings(self._dev_queries, logits.numpy(), self._dev_targets.numpy(), loss)


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, targets)

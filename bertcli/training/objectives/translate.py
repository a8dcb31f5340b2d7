"""translate: each token of a target, predicted from the source and from the tokens before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bertcli import interrupts
from bertcli.training.batches import ShuffledBatches, TrainingBatch, by_length
from bertcli.training.machine import VALIDATION_TOKENS, Machine
from bertcli.training.network import Network
from bertcli.training.recipe import ObjectiveSettings
from bertcli.training.validation import Validation, of_losses

SMOOTHING = 0.1  # of the targets (Vaswani et al. 2017, section 5.4)
MAX_LENGTH = 256  # tokens of a source or a target; longer pairs are left out
MAX_LOGITS = 1 << 26  # of a batch while validating: 256 MB

Pair = tuple[str, str]
Ids = tuple[list[int], list[int]]


class StartingPoint(Protocol):
    """An encoder-decoder before training: its model and tokenizer, the token that its decoder starts from (`start`),
    the most tokens of a text (`limit`), the learning rate and the warm-up that suit it, and `kind`, which its card
    says."""

    model: Any
    pad: int
    start: int
    limit: int
    learning_rate: float
    warm_up: int
    kind: str

    def encode(self, pairs: Sequence[Pair]) -> list[Ids]:
        """The token ids of sources and targets."""
        ...

    def loss(
        self, model: Any, inputs: Mapping[str, Tensor], target: Tensor, real: Tensor, smoothing: float
    ) -> Tensor:
        """The cross-entropy summed over those target positions, (rows, length), that are `real`."""
        ...

    def write_tokenizer(self, folder: Path) -> None:
        """Write the files from which transformers makes the tokenizer."""
        ...


class TranslateObjective:
    """Cross-entropy with smoothed targets; `left_out` pairs are longer than the model."""

    head = None

    def __init__(
        self,
        starting_point: StartingPoint,
        train: Sequence[Pair],
        dev: Sequence[Pair],
        machine: Machine,
        batch_tokens: int,
        seed: int,
    ) -> None:
        """Raises InputError where every pair is longer than the model."""
        self.settings = ObjectiveSettings(
            name="translate", batch_tokens=batch_tokens, max_length=starting_point.limit
        )
        self._start, self._machine = starting_point, machine
        self.train, self.dev = self._encode(train), self._encode(dev)
        self.train_size, self.dev_size = len(self.train), len(self.dev)
        self.left_out = len(train) - len(self.train)
        self._order = ShuffledBatches([max(map(len, pair)) for pair in self.train], batch_tokens, seed)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        return self.batch_of([self.train[index] for index in self._order(number)])

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        real = batch.targets != self._start.pad
        total = self._start.loss(network.model, batch.inputs, batch.targets, real, SMOOTHING)
        return total / real.sum()

    def validate(self, network: Network) -> Validation | None:
        """The loss without smoothing."""
        if not self.dev:
            return None
        losses, tokens = torch.zeros(len(self.dev)), torch.zeros(len(self.dev))
        most = max(1, min(VALIDATION_TOKENS, MAX_LOGITS // network.model.config.vocab_size))
        for indices in by_length([max(map(len, pair)) for pair in self.dev], most):
            interrupts.check()
            batch = self.batch_of([self.dev[index] for index in indices]).to(self._machine.device)
            real = batch.targets != self._start.pad  # [rows, length]
            logits = network.model(**batch.inputs).logits[real].float()  # [tokens, vocabulary]
            found = functional.cross_entropy(logits, batch.targets[real], reduction="none")
            rows = real.nonzero()[:, 0].cpu()  # [tokens]
            # On the CPU: index_add of a GPU adds in an order of its own in each run.
            losses[indices] = torch.zeros(len(indices)).index_add(0, rows, found.cpu())
            tokens[indices] = real.sum(1).float().cpu()
        return of_losses(losses.numpy(), tokens.numpy())

    def batch_of(self, pairs: Sequence[Ids]) -> TrainingBatch:
        """Padded; the decoder reads each target one token late."""
        source = _padded([source for source, _ in pairs], self._start.pad)
        target = _padded([target for _, target in pairs], self._start.pad)
        start = torch.full_like(target[:, :1], self._start.start)
        inputs = {
            "input_ids": source,
            "attention_mask": (source != self._start.pad).long(),
            "decoder_input_ids": torch.cat([start, target[:, :-1]], 1),
        }
        return TrainingBatch(inputs, target)

    def _encode(self, pairs: Sequence[Pair]) -> list[Ids]:
        """The token ids of the pairs that are no longer than the model."""
        found = self._start.encode(pairs) if pairs else []
        return [pair for pair in found if max(map(len, pair)) <= self._start.limit]


def _padded(sequences: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Tokens [rows, length]."""
    longest = max(map(len, sequences))
    return torch.tensor([[*sequence, *[pad] * (longest - len(sequence))] for sequence in sequences])

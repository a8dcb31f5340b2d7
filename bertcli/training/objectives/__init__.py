"""Objectives: what a network is trained for, one file each. Each knows its batches, its loss and its validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from bertcli.tasks.windowing import Windowing
from bertcli.training.batches import TrainingBatch, encode, truncation
from bertcli.training.machine import Machine
from bertcli.training.network import HeadSpec, Network
from bertcli.training.recipe import ObjectiveSettings
from bertcli.training.validation import Validation

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Window


class Objective(Protocol):
    """`head` is the head that is trained, None for fill and embed, which need none of their own. `train_size` and
    `dev_size` are the numbers of examples to learn from and to validate with."""

    train_size: int
    dev_size: int

    @property
    def settings(self) -> ObjectiveSettings: ...

    @property
    def head(self) -> HeadSpec | None: ...

    @property
    def batches_per_epoch(self) -> int: ...

    def batch(self, number: int) -> TrainingBatch:
        """Batch `number` on the CPU, the same on every call."""

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        """The mean loss, a float32 scalar."""

    def validate(self, network: Network) -> Validation | None:
        """The figures on the held-out examples, None without any."""


@dataclass(frozen=True)
class Context:
    """What every objective is made with. `cache` is a directory for what takes long to compute, `validation_limit` the
    most examples to validate with, 0 for all; `max_rows` the most examples of a batch."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    machine: Machine
    cache: Path
    validation_limit: int
    seed: int
    max_rows: int | None = None

    def windowing(self, max_length: int) -> Windowing:
        return truncation(self.checkpoint, self.tokenizer, max_length)

    def windows(
        self, texts: Sequence[str], pairs: Sequence[str | None] | None, max_length: int
    ) -> list[Window]:
        """Texts, or pairs of texts, truncated to `max_length` tokens."""
        windowing = self.windowing(max_length)
        partners = pairs or [None] * len(texts)
        return [encode(self.tokenizer, windowing, a, b) for a, b in zip(texts, partners, strict=True)]

    def compute(
        self, network: Network, windows: Sequence[Window], of_inputs: Callable[[dict[str, Tensor]], Tensor]
    ) -> Tensor:
        """What `of_inputs` makes of each window without dropout: float32 [windows, …] on the CPU."""
        generators = self.machine.generators()
        network.eval()
        rows: list[Tensor] = [torch.empty(0)] * len(windows)
        with torch.no_grad(), self.machine.forward_pass():
            for indices, inputs in self.machine.sweep(windows):
                for index, row in zip(indices, of_inputs(inputs).float().cpu(), strict=True):
                    rows[index] = row
        self.machine.set_generators(generators)
        return torch.stack(rows)

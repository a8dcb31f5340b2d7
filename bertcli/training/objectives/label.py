"""label: classes, several labels, or a number, of texts or pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bertcli.training.batches import ShuffledBatches, TrainingBatch, pad
from bertcli.training.dataset import MULTI, REGRESSION, SINGLE, Split, classes_of, problem_of, targets_of
from bertcli.training.network import HeadSpec, Network
from bertcli.training.objectives import Context
from bertcli.training.probe import fit_probe, loss_of
from bertcli.training.recipe_data import evenly_spaced
from bertcli.training.validation import Validation, of_numbers, of_one_label, of_several_labels

if TYPE_CHECKING:
    from bertcli.records import Window
    from bertcli.training.recipe import LabelSettings


class LabelObjective:
    """Cross-entropy, binary cross-entropy or squared error, as the problem type of the head says."""

    def __init__(
        self,
        settings: LabelSettings,
        split: Split,
        context: Context,
        seed: int,
        head: HeadSpec | None = None,
    ) -> None:
        """Without `head` the classes and the problem type are those of the training examples."""
        if head is None:
            problem = settings.problem_type or problem_of(split.train)
            classes = classes_of(split.train, problem)
            head = HeadSpec("label", classes, problem, settings.pooling, settings.dense)
        self.settings, self.head, self.split, self._context = settings, head, split, context
        self.problem = head.problem_type or SINGLE
        dev = evenly_spaced(split.dev, context.validation_limit)
        length = settings.max_length
        self.train = context.windows([e.text for e in split.train], [e.pair for e in split.train], length)
        self.dev = context.windows([e.text for e in dev], [e.pair for e in dev], length)
        self.targets = torch.from_numpy(targets_of(split.train, head.labels, self.problem))
        self.dev_targets = torch.from_numpy(targets_of(dev, head.labels, self.problem))
        self.train_size, self.dev_size = len(self.train), len(self.dev)
        lengths = [len(one) for one in self.train]
        self._order = ShuffledBatches(lengths, settings.batch_tokens, seed, context.max_rows)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        chosen = self._order(number)
        inputs = pad([self.train[i] for i in chosen], self._context.machine.pad_id)
        return TrainingBatch(inputs, self.targets[chosen])

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        return loss_of(network.logits(self.settings.name, batch.inputs), batch.targets, self.problem)

    def validate(self, network: Network) -> Validation | None:
        if not self.dev:
            return None
        return self.validation_of(self.answers(network, self.dev), self.dev_targets)

    def answers(self, network: Network, windows: list[Window]) -> Tensor:
        """Logits [texts, labels]."""
        return self._context.compute(
            network, windows, lambda inputs: network.logits(self.settings.name, inputs)
        )

    def fit_probe(self, network: Network, *, with_dev: bool = False) -> None:
        """Give a classifier behind a mean layer the weights of a linear probe on the encoder as it is, fitted to the
        training examples, or `with_dev` to all of them."""
        windows = [*self.train, *self.dev] if with_dev else self.train
        targets = torch.cat([self.targets, self.dev_targets]) if with_dev else self.targets
        features = self._context.compute(
            network, windows, lambda inputs: network.model.bert(**inputs).pooler_output
        )
        scale = 1.0 / features.std()  # the strengths of regularisation are for features of size 1
        weights, bias = fit_probe(features * scale, targets, len(self.head.labels), self.problem)
        with torch.no_grad():
            network.model.classifier.weight.copy_(weights * scale)
            network.model.classifier.bias.copy_(bias)

    def validation_of(self, logits: Tensor, targets: Tensor) -> Validation:
        """The figures of logits [texts, labels]."""
        loss = float(loss_of(logits, targets, self.problem))
        gold: Any = targets.numpy()
        if self.problem == REGRESSION:
            return of_numbers(logits[:, 0].numpy(), gold, loss)
        if self.problem == MULTI:
            return of_several_labels((logits > 0).numpy(), gold > 0.5, self.head.labels, loss)
        return of_one_label(logits.argmax(1).numpy(), gold, self.head.labels, loss)

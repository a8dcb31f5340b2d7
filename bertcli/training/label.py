"""Learn labels: one class a text, several, a number; of texts or of pairs.

First a regularised linear head on the fixed encoder, then the encoder with that head as its beginning. What
measures better on the held-out part is kept. Where nothing is held out, because the examples are few, `trial`
says beforehand which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from bertcli.training.batches import encode
from bertcli.training.examination import Examination, of_numbers, of_one_label, of_several_labels
from bertcli.training.examples import (
    MULTI,
    REGRESSION,
    Held,
    begins_linear,
    classes_of,
    problem_of,
    targets_of,
)
from bertcli.training.lessons import Machine, load_base
from bertcli.training.linear import fit_head, loss_of
from bertcli.training.pooled import append_mean_layer

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import ProblemType
    from bertcli.models.tokenizer import Tokenizer

MANY = 2000  # examples


class LabelLesson:
    """A sequence classifier on the base's encoder."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        held: Held,
        machine: Machine,
        length: int,
        like: LabelLesson | None = None,
    ) -> None:
        """The problem and the classes are those of the training part, or of another lesson."""
        self.machine = machine
        self.problem: ProblemType = like.problem if like else problem_of(held.train)
        self.classes: tuple[str, ...] = like.classes if like else classes_of(held.train, self.problem)
        self.train = [encode(tokenizer, e.text, e.pair, length) for e in held.train]
        self.dev = [encode(tokenizer, e.text, e.pair, length) for e in held.dev]
        self.lengths: Sequence[int] = [len(one) for one in self.train]
        self.targets = torch.from_numpy(targets_of(held.train, self.classes, self.problem))
        self.dev_targets = torch.from_numpy(targets_of(held.dev, self.classes, self.problem))
        self.model = load_base(
            AutoModelForSequenceClassification,
            checkpoint,
            num_labels=len(self.classes),
            id2label=dict(enumerate(self.classes)),
            label2id={name: number for number, name in enumerate(self.classes)},
            problem_type=self.problem,
        )
        self.pools = begins_linear(checkpoint)
        if self.pools:
            append_mean_layer(self.model)
        if len(self.train) < MANY:  # too few to learn words from, and steps are cheaper
            self.model.base_model.embeddings.requires_grad_(False)
        self.model.to(machine.device)
        self.is_watched = bool(held.dev)
        self.examined: Examination | None = None
        """What is known beforehand, for a lesson without a held-out part."""

    def begin(self) -> None:
        """Give the new head the weights of a linear head fitted on what the untouched encoder says."""
        if not self.pools:
            return
        features = self._features()
        scale = 1.0 / features.std()  # the strengths of regularisation are for features of size 1
        weights, bias = fit_head(features * scale, self.targets, len(self.classes), self.problem)
        with torch.no_grad():
            self.model.classifier.weight.copy_(weights * scale)
            self.model.classifier.bias.copy_(bias)

    def loss(self, chosen: Sequence[int], seed: int) -> Tensor:
        logits = self.model(**self.machine.batch([self.train[i] for i in chosen])).logits.float()
        return loss_of(logits, self.targets[list(chosen)].to(logits.device), self.problem)

    def examine(self) -> Examination:
        if self.examined is not None:
            return self.examined
        return self._judged(self.answers(), self.dev_targets)

    def answers(self) -> Tensor:
        """Logits [texts, classes] for the held-out part."""
        logits = torch.zeros(len(self.dev), len(self.classes))
        for indices, inputs in self.machine.sweep(self.dev):
            logits[indices] = self.model(**inputs).logits.float().cpu()
        return logits

    def judged(self, logits: Tensor) -> Examination:
        """Answers for the training part, measured."""
        return self._judged(logits, self.targets)

    def _judged(self, logits: Tensor, targets: Tensor) -> Examination:
        loss = float(loss_of(logits, targets, self.problem))
        gold = targets.numpy()
        if self.problem == REGRESSION:
            return of_numbers(logits[:, 0].numpy(), gold, loss)
        if self.problem == MULTI:
            return of_several_labels((logits > 0).numpy(), gold > 0.5, self.classes, loss)
        return of_one_label(logits.argmax(1).numpy(), gold, self.classes, loss)

    def _features(self) -> Tensor:
        """What the classifier reads of each training text: float32 [texts, hidden]."""
        features = torch.zeros(len(self.train), self.model.config.hidden_size)
        self.model.eval()
        with torch.no_grad(), self.machine.products():
            for indices, inputs in self.machine.sweep(self.train):
                features[indices] = self.model.bert(**inputs).pooler_output.float().cpu()
        return features

"""Learn tags: a class for each word, said by its first piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification

from bertcli.errors import InputError
from bertcli.training.batches import IGNORED, encode_words
from bertcli.training.examination import Examination, of_tags
from bertcli.training.examples import Held, tag_names
from bertcli.training.lessons import Machine, load_base

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer


class TagLesson:
    """A token classifier on the base's encoder."""

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Tokenizer, held: Held, machine: Machine, length: int
    ) -> None:
        self.machine = machine
        self.is_watched = True
        self.classes = tag_names(held.train)
        self._index = {name: number for number, name in enumerate(self.classes)}
        if unknown := sorted({tag for e in held.dev for tag in e.target} - set(self._index)):
            raise InputError(
                f"the held-out sentences have a tag {unknown[0]!r} that no training sentence has"
            )
        self._true = [list(example.target) for example in held.dev]
        self.train = [encode_words(tokenizer, example.words, length) for example in held.train]
        self.dev = [encode_words(tokenizer, example.words, length) for example in held.dev]
        self.lengths: Sequence[int] = [len(sentence.ids) for sentence in self.train]
        self.targets = [
            [self._index[example.target[word]] for word in sentence.words]
            for example, sentence in zip(held.train, self.train, strict=True)
        ]
        self.model = load_base(
            AutoModelForTokenClassification,
            checkpoint,
            num_labels=len(self.classes),
            id2label=dict(enumerate(self.classes)),
            label2id=self._index,
        ).to(machine.device)

    def begin(self) -> None:
        """A tag head starts at random: there are tokens enough to learn it from."""

    def loss(self, chosen: Sequence[int], seed: int) -> Tensor:
        inputs = self.machine.batch([self.train[i].ids for i in chosen])
        targets = torch.full(inputs["input_ids"].shape, IGNORED)
        for row, index in enumerate(chosen):
            targets[row, self.train[index].places] = torch.tensor(self.targets[index], dtype=torch.long)
        logits = self.model(**inputs).logits.float()  # [rows, length, classes]
        flat = targets.flatten().to(logits.device)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), flat, ignore_index=IGNORED)

    def examine(self) -> Examination:
        """Words without a piece, as those behind the length limit, have no prediction and count as the first
        tag."""
        predicted = [[self.classes[0]] * len(tags) for tags in self._true]
        loss, count = 0.0, 0
        for indices, inputs in self.machine.sweep([sentence.ids for sentence in self.dev]):
            logits = self.model(**inputs).logits.float().cpu()
            for row, index in enumerate(indices):
                _, words, places = self.dev[index]
                said = logits[row, places]  # [words, classes]
                true = torch.tensor(
                    [self._index[self._true[index][word]] for word in words], dtype=torch.long
                )
                loss += float(torch.nn.functional.cross_entropy(said, true, reduction="sum"))
                count += len(places)
                for word, tag in zip(words, said.argmax(1).tolist(), strict=True):
                    predicted[index][word] = self.classes[tag]
        return of_tags(predicted, self._true, self.classes, loss / max(1, count))

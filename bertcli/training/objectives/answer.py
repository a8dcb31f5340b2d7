"""answer: the span of a context that answers a question, or none (Devlin et al. 2018, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from bertcli.errors import InputError, RecordError
from bertcli.evaluation.answers import score_answer
from bertcli.models.heads import Head
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.answer import Answer
from bertcli.training.batches import ShuffledBatches, TrainingBatch, pad
from bertcli.training.dataset import Example, Split
from bertcli.training.network import HeadSpec, Network
from bertcli.training.objectives import Context
from bertcli.training.recipe_data import evenly_spaced
from bertcli.training.validation import Validation, of_answers

if TYPE_CHECKING:
    from bertcli.records import Window
    from bertcli.tasks import EncodedRecord
    from bertcli.training.recipe import AnswerSettings


class AnswerObjective:
    """Cross-entropy of the first and of the last token of the answer. Contexts are cut into windows as at inference;
    in a window without the whole answer, [CLS] is both."""

    def __init__(self, settings: AnswerSettings, split: Split, context: Context, seed: int) -> None:
        """Raises InputError where no answer can be found in a context, or no example fits the length."""
        self.settings, self._context = settings, context
        self.head = HeadSpec("answer", (), adapter=settings.adapter)
        long = LongOptions(long="window", max_length=settings.max_length)
        self._task = Answer(context.checkpoint, context.tokenizer, Head("answer", "answer"), long)
        self.train: list[Window] = []
        self._spans: list[tuple[int, int]] = []
        for example in split.train:
            encoded = self._encoded(example)
            if encoded is not None:
                self.train += encoded.windows
                self._spans += spans_of(example.target, encoded)
        if not any(end for _, end in self._spans):
            raise InputError("no answer of the examples can be found in its context")
        dev = evenly_spaced(split.dev, context.validation_limit)
        self._dev = [(example, self._encoded(example)) for example in dev]
        self.train_size, self.dev_size = len(split.train), len(dev)
        lengths = [len(one) for one in self.train]
        self._order = ShuffledBatches(lengths, settings.batch_tokens, seed, context.max_rows)

    def _encoded(self, example: Example) -> EncodedRecord | None:
        """The windows of an example, None where the question leaves no space for the context."""
        try:
            return self._task.encode(_record(example))
        except RecordError:
            return None

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        chosen = self._order(number)
        inputs = pad([self.train[i] for i in chosen], self._context.machine.pad_id)
        return TrainingBatch(inputs, torch.tensor([self._spans[i] for i in chosen]))

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        logits = network.logits(self.settings.name, batch.inputs)  # [rows, length, 2]
        padding = batch.inputs["attention_mask"][:, :, None] == 0
        return functional.cross_entropy(logits.masked_fill(padding, -1e4), batch.targets)

    def validate(self, network: Network) -> Validation | None:
        """Answers are decoded as at inference."""
        if not self._dev:
            return None
        windows = [window for _, encoded in self._dev if encoded is not None for window in encoded.windows]
        outputs: list[NDArray[np.float32]] = [np.zeros((0, 2), np.float32)] * len(windows)
        for indices, inputs in self._context.machine.sweep(windows):
            logits = network.logits(self.settings.name, inputs).cpu().numpy()
            for index, row in zip(indices, logits, strict=True):
                outputs[index] = row[: len(windows[index])]
        found: list[tuple[float, float, bool]] = []
        taken = 0
        for example, encoded in self._dev:
            answer = None
            if encoded is not None:
                part = outputs[taken : taken + len(encoded.windows)]
                taken += len(encoded.windows)
                answer = self._task.decode(_record(example), encoded, part)["answer"]
            gold = [text for text, _ in example.target]
            found.append((*score_answer(answer, gold), bool(gold)))
        return of_answers(*np.array(found, dtype=np.float64).T)


def _record(example: Example) -> Record:
    return Record(0, {}, example.text, example.pair)


def spans_of(answers: Sequence[tuple[str, int]], encoded: EncodedRecord) -> list[tuple[int, int]]:
    """The positions of the first and the last token of the first answer in each window, (0, 0) where the window does
    not have both. `answers` are texts with the character of the context where they start."""
    context, at, slices = encoded.notes
    if not answers:
        return [(0, 0)] * len(slices)
    text, begin = answers[0]
    end = begin + len(text)
    tokens = [i for i, (first, last) in enumerate(context.offsets) if first < end and last > begin]
    found = []
    for start, stop, _ in slices:
        inside = bool(tokens) and start <= tokens[0] and tokens[-1] < stop
        found.append((at + tokens[0] - start, at + tokens[-1] - start) if inside else (0, 0))
    return found

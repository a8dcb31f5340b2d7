"""tag: a tag for each word, predicted by its first word piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bertcli.errors import InputError
from bertcli.tasks.tag_path import best_path
from bertcli.training.batches import (
    IGNORED,
    ShuffledBatches,
    TrainingBatch,
    encode_words,
    pad,
)
from bertcli.training.dataset import Split, joined, recased, tag_names
from bertcli.training.network import HeadSpec, Network
from bertcli.training.objectives import Context
from bertcli.training.recipe_data import evenly_spaced
from bertcli.training.validation import Validation, of_tags

if TYPE_CHECKING:
    from bertcli.training.recipe import TagSettings

RARE = 0.1


class TagObjective:
    """Cross-entropy over the first word pieces of words."""

    def __init__(
        self,
        settings: TagSettings,
        split: Split,
        context: Context,
        seed: int,
        head: HeadSpec | None = None,
    ) -> None:
        """Without `head` the tags are those of the training sentences. Raises InputError for a tag that the head does
        not have."""
        self.head = head or HeadSpec(
            "tag",
            labels := tag_names(split.train),
            adapter=settings.adapter,
            shapes=settings.shapes,
            transitions=transition_scores([e.target for e in split.train], labels, settings.transitions),
        )
        self.settings, self.split, self._context = settings, split, context
        index = {tag: number for number, tag in enumerate(self.head.labels)}
        self._gold = evenly_spaced(split.dev, context.validation_limit)
        for sentences, which in ((split.train, "training"), (self._gold, "held-out")):
            if unknown := sorted({tag for one in sentences for tag in one.target} - set(index)):
                raise InputError(
                    f"the {which} sentences have a tag {unknown[0]!r} that is not among those to learn",
                    hint=f"the tags to learn are: {', '.join(self.head.labels)}",
                )
        tokenizer, short = context.tokenizer, context.windowing(settings.max_length)
        first_shape = context.checkpoint.token_types if self.head.shapes else None
        examples = recased(joined(split.train, settings.join, seed), settings.recase, seed)
        self.train = [encode_words(tokenizer, short, one.words, first_shape) for one in examples]
        self.dev = [
            encode_words(tokenizer, context.windowing(context.checkpoint.max_length), one.words, first_shape)
            for one in self._gold
        ]
        self._targets = [
            [index[example.target[word]] for word in sentence.words]
            for example, sentence in zip(examples, self.train, strict=True)
        ]
        self._index = index
        self.train_size, self.dev_size = len(split.train), len(self.dev)
        lengths = [len(one.window) for one in self.train]
        self._order = ShuffledBatches(lengths, settings.batch_tokens, seed, context.max_rows)

    @property
    def batches_per_epoch(self) -> int:
        return self._order.batches_per_epoch

    def batch(self, number: int) -> TrainingBatch:
        chosen = self._order(number)
        inputs = pad([self.train[i].window for i in chosen], self._context.machine.pad_id)
        targets = torch.full(inputs["input_ids"].shape, IGNORED)
        for row, i in enumerate(chosen):
            targets[row, self.train[i].positions] = torch.tensor(self._targets[i], dtype=torch.long)
        return TrainingBatch(inputs, targets)

    def loss(self, network: Network, batch: TrainingBatch) -> Tensor:
        logits = network.logits(self.settings.name, batch.inputs)  # [rows, length, tags]
        return functional.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)

    def validate(self, network: Network) -> Validation | None:
        """Words without a word piece, as those beyond the length of the model, count as the first tag."""
        if not self.dev:
            return None
        tags = self.head.labels
        answers = [[tags[0]] * len(one.words) for one in self._gold]
        loss, count = 0.0, 0
        scores = np.array(self.head.transitions, np.float32) if self.head.transitions else None
        for indices, inputs in self._context.machine.sweep([one.window for one in self.dev]):
            logits = network.logits(self.settings.name, inputs).cpu()
            for row, i in enumerate(indices):
                _, words, positions = self.dev[i]
                found = logits[row, positions]  # [words, tags]
                gold = torch.tensor(
                    [self._index[self._gold[i].target[word]] for word in words], dtype=torch.long
                )
                loss += float(functional.cross_entropy(found, gold, reduction="sum"))
                count += len(words)
                log_p = found.log_softmax(1).numpy()
                best = log_p.argmax(1).tolist() if scores is None else best_path(log_p, scores)
                for word, tag in zip(words, best, strict=True):
                    answers[i][word] = tags[tag]
        return of_tags(answers, [list(one.target) for one in self._gold], tags, loss / max(1, count))


def transition_scores(
    sentences: Iterable[Sequence[str]], labels: Sequence[str], weight: float
) -> tuple[tuple[float, ...], ...]:
    """How much more often than by chance each label follows each in tagged sentences: weight · log(P(next | previous) /
    P(next)), with a row for each previous label and one for the beginning of a sentence. What never occurs counts as
    `RARE` occurrences. Empty for weight 0."""
    if not weight:
        return ()
    pairs: Counter[tuple[str | None, str]] = Counter()
    for tags in sentences:
        pairs.update(zip((None, *tags), tags, strict=False))
    counts = np.array([[pairs[before, after] for after in labels] for before in (*labels, None)]) + RARE
    scores = weight * (np.log(counts / counts.sum(1, keepdims=True)) - np.log(counts.sum(0) / counts.sum()))
    return tuple(map(tuple, scores.tolist()))

"""Batches: windows of token ids as padded tensors, and the order in which examples are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertcli.errors import InputError
from bertcli.requests import LongOptions
from bertcli.tasks.windowing import Windowing
from bertcli.tasks.word_alignment import given_words, places_of
from bertcli.tasks.word_shapes import token_types

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Window

MIN_BATCHES = 12  # an epoch should have, where there are enough examples
MIN_ROWS = 4
POOL = 16  # batches sorted by length together
IGNORED = -100
"""The target of a token without a tag (cross_entropy of torch ignores it)."""


@dataclass(frozen=True)
class TrainingBatch:
    """`inputs` are the arguments of an encoder, each [rows, length]. The targets depend on the objective:

    fill: token ids [masked] at the flat `positions` [masked];
    label: classes [rows] int64, or [rows, labels] float32, or numbers [rows] float32;
    tag: [rows, length], IGNORED at all but the first word pieces of words;
    answer: the first and the last token of the answer [rows, 2], 0 where the window has none;
    embed: the teacher's embeddings [rows, hidden], or of scored pairs the wanted cosines [rows / 2], where the first
    half of the rows are the first texts and the second half their partners.
    """

    inputs: dict[str, Tensor]
    targets: Tensor
    positions: Tensor | None = None

    def to(self, device: torch.device) -> TrainingBatch:
        """The same batch on a device."""
        return TrainingBatch(
            {name: value.to(device) for name, value in self.inputs.items()},
            self.targets.to(device),
            None if self.positions is None else self.positions.to(device),
        )


class EncodedSentence(NamedTuple):
    """The window of a sentence, the numbers of the words that have a word piece in it, and the position of the first
    piece of each. Other words (a joiner alone, or truncated) have no tag to learn or predict."""

    window: Window
    words: list[int]
    positions: list[int]


def truncation(checkpoint: Checkpoint, tokenizer: Tokenizer, max_length: int) -> Windowing:
    """Cuts texts to `max_length` tokens as inference does with `--long truncate`."""
    return Windowing.of(checkpoint, tokenizer, LongOptions(long="truncate", max_length=max_length))


def encode(tokenizer: Tokenizer, windowing: Windowing, text: str, pair: str | None) -> Window:
    """The first window of a text or a pair."""
    tokens = tokenizer.encode(text)
    encoded = windowing.single(tokens) if pair is None else windowing.pair(tokens, tokenizer.encode(pair))
    return encoded.windows[0]


def encode_words(
    tokenizer: Tokenizer, windowing: Windowing, words: Sequence[str], first_shape: int | None = None
) -> EncodedSentence:
    """A sentence of words; the first word piece of a word is the one that predicts its tag. `first_shape` is the token
    type of the first shape of words, None for a head that does not read shapes."""
    text = " ".join(words)
    tokens = tokenizer.encode(text)
    start, stop, _ = cut = windowing.slices(len(tokens.ids), windowing.capacity)[0][0]
    places = list(places_of(words))
    numbers = {begin: number for number, (begin, end) in enumerate(places) if begin < end}
    aligned = given_words(text, tokens, tokenizer, places)
    found = [word for word in aligned if start <= word.first < stop]
    shift = windowing.leading - start
    window = windowing.window(tokens.ids, cut)
    if first_shape is not None:
        types = token_types(text, aligned, len(tokens.ids), first_shape)
        window = windowing.with_types(window, types, cut)
    return EncodedSentence(
        window,
        [numbers[word.start] for word in found],
        [word.first + shift for word in found],
    )


def pad(windows: Sequence[Window], pad_id: int) -> dict[str, Tensor]:
    """The arguments of an encoder, each [rows, length]; the length is that of the longest window."""
    ids = np.full((len(windows), max(map(len, windows))), pad_id, np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)], mask[row, : len(window)] = window.ids, 1
        if window.types is not None:
            types[row, : len(window)] = window.types
    arrays = {"input_ids": ids, "attention_mask": mask}
    if windows[0].types is not None:
        arrays["token_type_ids"] = types
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class ShuffledBatches:
    """Batches of examples of similar length, by number: a function of the number and the seed alone, so that a resumed
    run draws what an uninterrupted one would have drawn.

    A batch has at most `batch_tokens` tokens, padding included, and at most `max_rows` examples.
    """

    def __init__(
        self, lengths: Sequence[int], batch_tokens: int, seed: int, max_rows: int | None = None
    ) -> None:
        """Raises InputError where there are no examples."""
        if not len(lengths):
            raise InputError("there are no examples to learn from")
        self._lengths, self._batch_tokens, self._seed = lengths, batch_tokens, seed
        rows = max(MIN_ROWS, len(lengths) // MIN_BATCHES)
        self._rows = rows if max_rows is None else min(rows, max_rows)
        self._epoch = (0, self._batches(0))
        self.batches_per_epoch = len(self._epoch[1])

    def __call__(self, number: int) -> list[int]:
        """The examples of batch `number`."""
        epoch, index = divmod(number, self.batches_per_epoch)
        if self._epoch[0] != epoch:
            # Epochs differ by a batch or two, because lengths meet differently; a schedule needs one number.
            self._epoch = (epoch, (self._batches(epoch) * 2)[: self.batches_per_epoch])
        return self._epoch[1][index]

    def _batches(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._lengths))
        pool = min(self._rows, self._batch_tokens) * POOL
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            chunk = sorted(order[start : start + pool], key=lambda i: self._lengths[i])
            batches += cut(chunk, self._lengths, self._batch_tokens, self._rows)
        return [batches[i] for i in rng.permutation(len(batches))]


def by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """All examples once, short ones first, in batches of at most `batch_tokens` tokens."""
    return cut(sorted(range(len(lengths)), key=lambda i: lengths[i]), lengths, batch_tokens, batch_tokens)


def cut(order: Sequence[int], lengths: Sequence[int], batch_tokens: int, rows: int) -> list[list[int]]:
    """`order`, which goes from short to long, in batches."""
    batches: list[list[int]] = []
    for index in order:
        last = batches[-1] if batches else None
        if last is None or len(last) == rows or (len(last) + 1) * lengths[index] > batch_tokens:
            batches.append([])
        batches[-1].append(int(index))
    return batches

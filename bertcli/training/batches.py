"""Token ids -> padded tensors, and shuffled batches of texts of like length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bertcli.tasks.word_alignment import given_words, places_of

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer

MOST_ROWS = 32  # of a batch: short texts would else make too few steps
FEWEST_BATCHES = 12  # an epoch should have, where there are examples for it
LEAST_ROWS = 4
POOL = 16  # batches sorted by length together
IGNORED = -100
"""The target of a token that carries no tag (torch's cross_entropy leaves it out)."""


@dataclass(frozen=True, slots=True)
class Ids:
    """A text or pair as the model reads it, special tokens included."""

    ids: Sequence[int]
    types: Sequence[int] | None

    def __len__(self) -> int:
        return len(self.ids)


class Sentence(NamedTuple):
    """A sentence as the model reads it, the numbers of the words that have a piece there, and the place of
    the first piece of each. Other words (a joiner alone, or behind the limit) have no tag to learn or get."""

    ids: Ids
    words: list[int]
    places: list[int]


def encode(tokenizer: Tokenizer, text: str, pair: str | None, length: int) -> Ids:
    """A text (or pair) with its special tokens, cut to `length` tokens: of a pair, the longer one first."""
    a = tokenizer.encode(text).ids
    b = None if pair is None else tokenizer.encode(pair).ids
    frame = tokenizer.frame(pair is not None)
    room = length - len(frame)
    if b is None:
        a = a[:room]
    elif len(a) + len(b) > room:
        short = min(len(a), len(b), room // 2)
        a, b = (a[: room - short], b[:short]) if len(a) > len(b) else (a[:short], b[: room - short])
    ids, types, _, _ = frame.build(a, b)
    return Ids(ids, types)


def encode_words(tokenizer: Tokenizer, words: Sequence[str], length: int) -> Sentence:
    """A sentence of words, cut to `length` tokens with the special ones: a word's first piece is the one that
    answers for it too."""
    text = " ".join(words)
    tokens = tokenizer.encode(text)
    frame = tokenizer.frame(False)
    room = length - len(frame)
    ids, types, first, _ = frame.build(tokens.ids[:room])
    places = list(places_of(words))
    numbers = {start: number for number, (start, end) in enumerate(places) if start < end}
    found = [word for word in given_words(text, tokens, tokenizer, places) if word.first < room]
    return Sentence(
        Ids(ids, types), [numbers[word.start] for word in found], [first + word.first for word in found]
    )


def pad(
    chosen: Sequence[Ids], pad_id: int, device: torch.device, length: int | None = None
) -> dict[str, Tensor]:
    """The keyword arguments of a model, each [rows, length]; the length is that of the longest text where
    none is given."""
    length = length or max(len(one) for one in chosen)
    ids = np.full((len(chosen), length), pad_id, np.int64)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, one in enumerate(chosen):
        ids[row, : len(one)], mask[row, : len(one)] = one.ids, 1
        if one.types is not None:
            types[row, : len(one)] = one.types
    arrays = {"input_ids": ids, "attention_mask": mask}
    if chosen[0].types is not None:
        arrays["token_type_ids"] = types
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def shuffled(lengths: Sequence[int], budget: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch: indices of texts of like length, at most `budget` tokens with their padding.

    The same for the same seed and epoch.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    rows = max(LEAST_ROWS, min(MOST_ROWS, len(lengths) // FEWEST_BATCHES))
    batches: list[list[int]] = []
    for start in range(0, len(order), rows * POOL):
        batches += cut(
            sorted(order[start : start + rows * POOL], key=lambda i: lengths[i]), lengths, budget, rows
        )
    return [batches[i] for i in rng.permutation(len(batches))]


def by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """All texts once, short ones first, in batches of at most `budget` tokens."""
    return cut(sorted(range(len(lengths)), key=lambda i: lengths[i]), lengths, budget, budget)


def cut(order: Sequence[int], lengths: Sequence[int], budget: int, rows: int) -> list[list[int]]:
    """`order`, which goes from short to long, in batches."""
    batches: list[list[int]] = []
    for index in order:
        last = batches[-1] if batches else None
        if last is None or len(last) == rows or (len(last) + 1) * lengths[index] > budget:
            batches.append([])
        batches[-1].append(int(index))
    return batches

"""Batches of a recipe's skills, by number: ids and targets, on the CPU.

Every stream is a pure function of the batch number: `stream.batch(n)` needs no state but the seed. That is
what lets a resumed run see exactly the batches an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bertcli.training.batches import IGNORED, Ids, pad
from bertcli.training.buckets import BucketedOrder
from bertcli.training.corpus import TokenFile
from bertcli.training.masking import Hidden, Masking, inside

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer

Ints = NDArray[np.int64]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    """What one micro-batch carries.

    ids [rows, length]; mask [rows, length] of 0/1, or None where nothing is padded; types [rows, length]: the
    segments; seed: what dropout draws from. Targets by kind:

    fill: token ids [masked] at the flat `positions` [masked];
    label: classes [rows] int64, or [rows, labels] float32, or numbers [rows] float32;
    tag: [rows, length], IGNORED at all but the first pieces of words;
    embed: teacher vectors [rows, hidden], or for scored pairs cosines [rows / 2], the first half of the rows
    being the first texts and the second half their partners.
    """

    ids: Tensor
    mask: Tensor | None
    types: Tensor | None
    targets: Tensor
    positions: Tensor | None = None
    seed: int = 0

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Batch(
            self.ids.to(device),
            moved(self.mask),
            moved(self.types),
            self.targets.to(device),
            moved(self.positions),
            self.seed,
        )


class Stream(Protocol):
    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        ...


@dataclass(frozen=True)
class Texts:
    """Tokenised texts, padded with `pad_id`."""

    encoded: Sequence[Ids]
    pad_id: int

    @property
    def lengths(self) -> list[int]:
        return [len(one) for one in self.encoded]

    def padded(self, indices: Sequence[int] | Ints, length: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """(ids, mask, types) of some texts, each [rows, length]."""
        inputs = pad([self.encoded[i] for i in indices], self.pad_id, CPU, length)
        return inputs["input_ids"], inputs["attention_mask"], inputs.get("token_type_ids")


class BlockStream:
    """Masked language modelling on full blocks of tokens with special tokens around, none padded.

    `places` [2, blocks] are those of `corpus.blocks`, of `length` tokens less the special ones.
    """

    def __init__(
        self,
        files: Sequence[TokenFile],
        places: Ints,
        tokenizer: Tokenizer,
        masking: Masking,
        *,
        length: int,
        rows: int,
        seed: int,
    ) -> None:
        self.files, self.places, self.masking = files, places, masking
        self.length, self.rows, self.seed = length, rows, seed
        self.frame = tokenizer.frame(False)
        self._epoch: tuple[int, Ints] = (-1, np.zeros(0, np.int64))

    @property
    def batches_an_epoch(self) -> int:
        return -(-int(self.places.shape[1]) // self.rows)

    def batch(self, number: int) -> Batch:
        epoch, index = divmod(number, self.batches_an_epoch)
        if self._epoch[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.places.shape[1])
            # The last batch is filled up from the beginning: shapes stay the same.
            self._epoch = (epoch, np.resize(order, self.batches_an_epoch * self.rows))
        chosen = self._epoch[1][index * self.rows : (index + 1) * self.rows]
        before, after = self.frame.before, self.frame.after
        body = slice(len(before), self.length - len(after))
        ids = np.empty((len(chosen), self.length), np.int64)
        ids[:, : body.start], ids[:, body.stop :] = before, after
        for row, (file, start) in enumerate(self.places[:, chosen].T):
            ids[row, body] = self.files[file].tokens[start : start + body.stop - body.start]
        maskable = np.zeros(ids.shape, np.bool_)
        maskable[:, body] = True
        rng = np.random.default_rng([self.seed, 1, number])
        hidden = self.masking.hide(ids, maskable, self.masking.counts(maskable), rng)
        return fill_batch(hidden, None, None)


class TextFillStream:
    """Masked language modelling on single texts, as a user would type them, padded in buckets."""

    def __init__(self, texts: Texts, tokenizer: Tokenizer, order: BucketedOrder, masking: Masking) -> None:
        self.texts, self.order, self.masking = texts, order, masking
        self.frame = tokenizer.frame(False)

    def batch(self, number: int) -> Batch:
        indices, length = self.order(number)
        ids, mask, types = self.texts.padded(indices, length)
        maskable = inside(mask.numpy().sum(1), length, self.frame)
        # The same count in every row, so that shapes are few; a row of a bucket fills three quarters of it or
        # more, hardly ever less.
        count = max(1, round(self.masking.rate * 0.75 * length))
        counts = np.full(len(indices), min(count, int(maskable.sum(1).min())))
        rng = np.random.default_rng([self.order.seed, 1, number])
        return fill_batch(self.masking.hide(ids.numpy(), maskable, counts, rng), mask, types)


def fill_batch(hidden: Hidden, mask: Tensor | None, types: Tensor | None) -> Batch:
    """A batch of hidden tokens."""
    targets, positions = torch.from_numpy(hidden.targets), torch.from_numpy(hidden.positions)
    return Batch(torch.from_numpy(hidden.ids), mask, types, targets, positions)


class LabelStream:
    """Texts or pairs with a target each: class indices int64 [rows], or float32 [rows] or [rows, labels]."""

    def __init__(self, texts: Texts, targets: Tensor, order: BucketedOrder) -> None:
        self.texts, self.targets, self.order = texts, targets, order

    def batch(self, number: int) -> Batch:
        indices, length = self.order(number)
        return Batch(*self.texts.padded(indices, length), self.targets[torch.from_numpy(indices)])


class VectorStream:
    """Texts with the teacher's vector each: float32 [rows, hidden] from an array of any float type."""

    def __init__(self, texts: Texts, vectors: NDArray[np.floating], order: BucketedOrder) -> None:
        self.texts, self.vectors, self.order = texts, vectors, order

    def batch(self, number: int) -> Batch:
        indices, length = self.order(number)
        vectors = torch.from_numpy(self.vectors[indices].astype(np.float32))
        return Batch(*self.texts.padded(indices, length), vectors)


class PairStream:
    """Scored pairs: the rows are all first texts, then all second texts.

    The targets are the wished cosines [rows / 2].
    """

    def __init__(self, first: Texts, second: Texts, scores: Tensor, order: BucketedOrder) -> None:
        self.both = Texts([*first.encoded, *second.encoded], first.pad_id)
        self.pairs, self.scores, self.order = len(first.encoded), scores, order

    def batch(self, number: int) -> Batch:
        indices, length = self.order(number)
        indices = indices[: len(indices) // 2]
        rows = np.concatenate([indices, indices + self.pairs])
        return Batch(*self.both.padded(rows, length), self.scores[torch.from_numpy(indices)])


class TagStream:
    """Sentences with tag indices int64 [rows, length] at the first piece of each word, IGNORED elsewhere."""

    def __init__(self, texts: Texts, targets: Sequence[Ints], order: BucketedOrder) -> None:
        self.texts, self.targets, self.order = texts, targets, order

    def batch(self, number: int) -> Batch:
        indices, length = self.order(number)
        ids, mask, types = self.texts.padded(indices, length)
        targets = np.full(ids.shape, IGNORED, np.int64)
        for row, i in enumerate(indices):
            targets[row, : len(self.targets[i])] = self.targets[i]
        return Batch(ids, mask, types, torch.from_numpy(targets))

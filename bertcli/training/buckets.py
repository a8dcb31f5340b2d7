"""The order of training examples: shuffled batches of like length, the same for every batch number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import InputError

Ints = NDArray[np.int64]


class BucketedOrder:
    """Shuffled batches of examples of like length, as (indices, padded length), for any batch number.

    An epoch sorts its permutation into buckets and cuts full batches of `batch_tokens // length` rows. What
    is left in a bucket moves to the next longer one; the last batch of the longest is filled up from its
    beginning. So the shapes are few and fixed (a compiled graph each).
    """

    def __init__(self, lengths: Sequence[int], buckets: Sequence[int], batch_tokens: int, seed: int) -> None:
        if not lengths:
            raise InputError("there are no examples to learn from")
        self.lengths = np.array(lengths)
        self.buckets = [b for b in sorted(buckets) if b < max(lengths)]
        self.buckets.append(min((b for b in buckets if b >= max(lengths)), default=max(lengths)))
        self.batch_tokens = batch_tokens
        self.seed = seed
        self._epoch: tuple[int, list[tuple[Ints, int]]] = (-1, [])
        self.batches_an_epoch = len(self._batches(0))

    def __call__(self, number: int) -> tuple[Ints, int]:
        """The indices of batch `number` [rows] and the length to pad them to."""
        epoch, index = divmod(number, self.batches_an_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return self._epoch[1][index]

    def _batches(self, epoch: int) -> list[tuple[Ints, int]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        batches: list[tuple[Ints, int]] = []
        left = np.zeros(0, np.int64)
        shorter = 0
        for bucket in self.buckets:
            fitting = (self.lengths[order] > shorter) & (self.lengths[order] <= bucket)
            members = np.concatenate([left, order[fitting]])
            rows = max(2, self.batch_tokens // bucket // 2 * 2)
            if bucket == self.buckets[-1] and len(members) % rows:
                members = np.resize(members, -(-len(members) // rows) * rows)
            full = len(members) // rows
            batches.extend((members[i * rows : (i + 1) * rows], bucket) for i in range(full))
            left, shorter = members[full * rows :], bucket
        return [batches[i] for i in rng.permutation(len(batches))]

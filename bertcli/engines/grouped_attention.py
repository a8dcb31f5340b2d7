"""Attention in bfloat16 on a CPU: half the time of torch's own for texts.

Where hardware multiplies bfloat16, most of attention's time goes into the softmax. It is a quotient of
powers, here of two: one pass over the scores, where the search for each row's maximum takes more than one.
The maximum only keeps the powers within range. bfloat16 has the range of float32, so without it scores up to
about 78 are safe; when a sum says that some were not, their matrices go the ordinary way.

A *matrix* is what one head sees of one sequence. Those of nearly one length run together, in pieces of few
sizes: every call costs some microseconds whatever it does, and oneDNN compiles a kernel for every size and
keeps it, so that memory would grow with every new count and length. What fills a matrix up repeats its last
token, whose powers are then zero; what fills a piece up repeats its last matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines.rounding import rounded_length

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SCORES = 1 << 20  # that many are computed at once, so that they stay in a core's cache
_SPARE_SCORES = 1 << 15  # so many more take about as long as another round of calls
_SMALLEST, _LARGEST = 1e-34, 1e34  # sums of powers well within what bfloat16 can hold


class GroupedAttention:
    """The attention of a batch of sequences end to end in ascending length."""

    def __init__(self, lengths: Sequence[int], heads: int) -> None:
        self._groups = []
        start = 0
        for length, same in groupby(lengths, key=rounded_length):
            group = PaddedGroup(np.array(list(same)), length, start, heads)
            self._groups.append(group)
            start = group.stop

    def attend(self, qkv: Tensor, scale: float, reach: int | None = None) -> Tensor:
        """softmax(QKᵀ·scale)·V within each sequence: (tokens, 3, heads, width) -> (tokens, heads, width).

        With `reach`, a token sees only those less than that far away. Rows behind the last sequence come out
        as zeros.
        """
        tokens, _, heads, width = qkv.shape
        rows = qkv.reshape(-1, width)
        answer = qkv.new_empty(tokens * heads, width)
        for group in self._groups:
            place = slice(group.start * heads, group.stop * heads)
            torch.index_select(group.attend(rows, scale, reach), 0, group.back, out=answer[place])
        if self._groups:
            answer[self._groups[-1].stop * heads :] = 0
        return answer.view(tokens, heads, width)


class PaddedGroup:
    """Sequences from the row `start` to before `stop` of the batch, filled up to one `length`.

    `back` (tokens * heads) says where each row of the answer is found, and `_rows` (3 * matrices * length)
    which of the batch's rows are where among its queries, keys and values; `_real` (matrices, 1, length -
    shortest) is zero where a key is none, in the columns where that may be.
    """

    def __init__(self, lengths: NDArray[np.int64], length: int, start: int, heads: int) -> None:
        self.length = length
        self.start, self.stop = start, start + int(lengths.sum())
        count = len(lengths)
        self._pieces = list(pieces(count * heads, length))
        spare = self._pieces[-1].stop - count * heads
        places = np.minimum(np.arange(length), lengths[:, None] - 1)  # (count, length)
        firsts = start + np.cumsum(lengths) - lengths
        tokens = (firsts[:, None] + places)[:, None]
        each = np.arange(heads)[:, None]
        rows = (tokens * 3 + np.arange(3)[:, None, None, None]) * heads + each  # (3, count, heads, length)
        rows = rows.reshape(3, count * heads, length)
        self._rows = torch.from_numpy(np.pad(rows, ((0, 0), (0, spare), (0, 0)), mode="edge").ravel())
        sequence = np.repeat(np.arange(count), lengths)
        place = np.arange(self.stop - start) - np.repeat(firsts - start, lengths)
        back = (sequence[:, None] * heads + np.arange(heads)) * length + place[:, None]
        self.back = torch.from_numpy(back.ravel())
        self._shortest = int(lengths.min())
        is_real = np.arange(self._shortest, length) < np.repeat(lengths, heads)[:, None]
        is_real = np.pad(is_real, ((0, spare), (0, 0)), mode="edge")
        self._real = torch.from_numpy(is_real)[:, None].bfloat16()

    def attend(self, rows: Tensor, scale: float, reach: int | None) -> Tensor:
        """(tokens * 3 * heads, width) of the batch -> (matrices * length, width) of the group."""
        width = rows.shape[1]
        q, k, v = rows.index_select(0, self._rows).view(3, -1, self.length, width)
        visible = near(self.length, reach, rows.device)
        answer = torch.empty_like(q)
        for piece in self._pieces:
            self._attend(q[piece], k[piece], v[piece], self._real[piece], visible, scale, answer[piece])
        return answer.view(-1, width)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        real: Tensor,
        visible: Tensor | None,
        scale: float,
        answer: Tensor,
    ) -> None:
        powers = torch.baddbmm(
            query.new_empty(1), query, key.transpose(1, 2), beta=0, alpha=scale * math.log2(math.e)
        )
        if visible is not None:
            powers.masked_fill_(~visible, -math.inf)
        powers.exp2_()
        if self._shortest < self.length:
            powers[:, :, self._shortest :].mul_(real)
        sums = powers.sum(-1, keepdim=True)
        torch.bmm(powers, value, out=answer).div_(sums)
        smallest, largest = torch.aminmax(sums)
        if not (smallest > _SMALLEST and largest < _LARGEST):  # so that a sum that is no number counts too
            usable = (sums > _SMALLEST) & (sums < _LARGEST)
            # those matrices alone: the other texts must not change its answer by a bit
            others = (~usable.flatten(1).all(1)).nonzero().flatten()
            mask = functional.pad(real[others].bool(), (self._shortest, 0), value=True)
            mask = mask if visible is None else mask & visible
            q, k, v = query[others], key[others], value[others]
            answer[others] = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def pieces(matrices: int, length: int) -> Iterator[slice]:
    """Pieces of at least so many matrices: each as large as the cache allows or a power of two."""
    largest = 1 << (max(1, _SCORES // length**2).bit_length() - 1)
    start = 0
    while start < matrices:
        rest = matrices - start
        size = min(largest, 1 << (rest - 1).bit_length())
        if (size - rest) * length**2 > _SPARE_SCORES:
            size //= 2
        yield slice(start, start + size)
        start += size


def near(length: int, reach: int | None, device: torch.device) -> Tensor | None:
    """Which positions of a sequence are less than `reach` apart: (length, length); None if all are."""
    if reach is None or reach >= length:
        return None
    positions = torch.arange(length, device=device)
    return (positions[:, None] - positions).abs() < reach

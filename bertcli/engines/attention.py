"""Attention over a batch: sequences of several lengths end to end, none of which sees another."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines.device import ATTENTION_STEP
from bertcli.engines.grouped_attention import GroupedAttention, near


class Attention(Protocol):
    """The attention of one batch, made ready for all of its layers."""

    def attend(self, qkv: Tensor, scale: float, reach: int | None = None) -> Tensor:
        """softmax(QKᵀ·scale)·V within each sequence: (tokens, 3, heads, width) -> (tokens, heads, width).

        With `reach`, a token sees only those less than that far away (ModernBERT's local layers). Rows behind
        the last sequence (the engine may round a batch up) come out as zeros.
        """
        ...


def arrange(lengths: Sequence[int], heads: int, dtype: torch.dtype, device: torch.device) -> Attention:
    """The attention of sequences end to end in ascending length."""
    if dtype == torch.bfloat16 and device.type == "cpu":
        return GroupedAttention(lengths, heads)
    return Grouped(lengths, device)


class Grouped:
    """torch's own attention. Lengths that round up to the same multiple of ATTENTION_STEP share a call: 1
    never pads, more makes fewer calls, which is what a GPU likes."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._groups = []
        step, start = ATTENTION_STEP[device.type], 0
        for _, same in groupby(lengths, key=lambda length: -(-length // step)):
            self._groups.append(_group(list(same), start, device))
            start = self._groups[-1].stop

    def attend(self, qkv: Tensor, scale: float, reach: int | None = None) -> Tensor:
        answer = qkv.new_zeros(qkv[:, 0].shape)
        for group in self._groups:
            q, k, v = (group.take(each) for each in qkv.unbind(1))
            visible = near(group.length, reach, qkv.device)
            mask = visible if group.real is None else group.real if visible is None else group.real & visible
            group.put(answer, functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
        return answer


@dataclass(frozen=True, slots=True)
class Group:
    """`count` sequences that share one attention call, their rows in `start:stop` of the batch.

    All are `length` long, or padded to it inside the call alone: then `rows` (count * length) says which row
    of the batch is at each position, `real` (count, 1, 1, length) which positions are no padding, and `back`
    (stop - start) at which of all positions each row is. (Finding that on a GPU makes the host wait for it.)
    """

    start: int
    stop: int
    count: int
    length: int
    rows: Tensor | None = None
    real: Tensor | None = None
    back: Tensor | None = None

    def take(self, packed: Tensor) -> Tensor:
        """(tokens, heads, width) of the batch -> (count, heads, length, width) of this group."""
        rows = packed[self.start : self.stop] if self.rows is None else packed[self.rows]
        return rows.view(self.count, self.length, *packed.shape[1:]).transpose(1, 2)

    def put(self, packed: Tensor, answer: Tensor) -> None:
        """The inverse of `take`: write (count, heads, length, width) into the batch."""
        rows = answer.transpose(1, 2)
        if self.back is not None:
            packed[self.start : self.stop] = rows.flatten(0, 1)[self.back]
        else:
            packed[self.start : self.stop].view(rows.shape).copy_(rows)


def _group(members: Sequence[int], start: int, device: torch.device) -> Group:
    """The group of sequences of these lengths, in ascending order."""
    longest, stop = members[-1], start + sum(members)
    if members[0] == longest:
        return Group(start, stop, len(members), longest)
    places = torch.arange(longest)
    real = places < torch.tensor(members)[:, None]
    first = torch.tensor(members).cumsum(0) - torch.tensor(members) + start
    rows = torch.where(real, first[:, None] + places, first[:, None]).flatten()
    back = real.flatten().nonzero().flatten()
    on_device = [each.to(device) for each in (rows, real[:, None, None], back)]
    return Group(start, stop, len(members), longest, *on_device)


def attend_once(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """Attention of one query of each sequence: query and answer are (sequences, heads, width), key and value
    (tokens, heads, width). No product of matrices, so all lengths go at once."""
    counts = torch.tensor(lengths, device=query.device)
    total = functools.partial(torch.segment_reduce, lengths=counts, unsafe=True)
    scores = (query * scale).repeat_interleave(counts, 0).mul_(key).sum(-1, dtype=torch.float32)
    highest = total(scores, "max").repeat_interleave(counts, 0)
    weights = (scores - highest).exp_()  # (tokens, heads)
    answer = total((weights[..., None] * value).flatten(1), "sum").view(query.shape)
    return (answer / total(weights, "sum")[..., None]).to(query.dtype)

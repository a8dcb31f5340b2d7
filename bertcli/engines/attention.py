"""Attention over a pack: sequences of several lengths end to end, none of which sees another."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines.device import ATTENTION_STEP

_SCORES = 1 << 20  # that many are held at once, so that they stay in a core's cache
_SMALLEST, _LARGEST = 1e-34, 1e34  # sums of powers well within what bfloat16 can hold


@dataclass(frozen=True, slots=True)
class Group:
    """`count` sequences that share one attention call, their rows in `start:stop` of the pack.

    All are `length` long, or padded to it inside the call alone: then `rows` (count * length) says which row
    of the pack stands at each position and `real` (count, 1, 1, length) which positions are no padding.
    """

    start: int
    stop: int
    count: int
    length: int
    rows: Tensor | None = None
    real: Tensor | None = None

    def take(self, packed: Tensor) -> Tensor:
        """(tokens, heads, width) of the pack -> (count, heads, length, width) of this group."""
        rows = packed[self.start : self.stop] if self.rows is None else packed[self.rows]
        return rows.view(self.count, self.length, *packed.shape[1:]).transpose(1, 2)

    def put(self, packed: Tensor, answer: Tensor) -> None:
        """The inverse of `take`: write (count, heads, length, width) into the pack."""
        rows = answer.transpose(1, 2)
        if self.real is not None:
            packed[self.start : self.stop] = rows[self.real[:, 0, 0]]
        else:
            packed[self.start : self.stop].view(rows.shape).copy_(rows)

    def near(self, reach: int | None, device: torch.device) -> Tensor | None:
        """Which positions are less than `reach` apart: (length, length); None if all are."""
        if reach is None or reach >= self.length:
            return None
        positions = torch.arange(self.length, device=device)
        return (positions[:, None] - positions).abs() < reach


def arrange(lengths: Sequence[int], device: torch.device) -> list[Group]:
    """The groups of sequences that lie end to end in ascending length.

    Lengths that round up to the same multiple of ATTENTION_STEP share an attention call: 1 never pads, more
    makes fewer calls, which is what a GPU likes.
    """
    step = ATTENTION_STEP[device.type]
    groups, start = [], 0
    for _, same in groupby(lengths, key=lambda length: -(-length // step)):
        members = list(same)
        longest, stop = members[-1], start + sum(members)
        rows = real = None
        if members[0] != longest:
            places = torch.arange(longest)
            real = places < torch.tensor(members)[:, None]
            first = torch.tensor(members).cumsum(0) - torch.tensor(members) + start
            rows = torch.where(real, first[:, None] + places, first[:, None]).flatten().to(device)
            real = real[:, None, None].to(device)
        groups.append(Group(start, stop, len(members), longest, rows, real))
        start = stop
    return groups


def attend(
    query: Tensor, key: Tensor, value: Tensor, groups: Sequence[Group], scale: float, reach: int | None = None
) -> Tensor:
    """softmax(QKᵀ·scale)·V within each sequence of a pack; all are (tokens, heads, width).

    With `reach`, a token sees only those less than that far away (ModernBERT's local layers). Rows behind the
    last sequence (the engine may round a pack up) come out as zeros.
    """
    answer = query.new_zeros(query.shape)
    by_powers = query.dtype == torch.bfloat16 and query.device.type == "cpu"
    for group in groups:
        q, k, v = group.take(query), group.take(key), group.take(value)
        near = group.near(reach, query.device)
        if by_powers and group.real is None:
            group.put(answer, _attend_by_powers(q, k, v, near, scale))
        else:
            mask = near if group.real is None else group.real if near is None else group.real & near
            group.put(answer, functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
    return answer


def attend_once(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], scale: float) -> Tensor:
    """The same for one query of each sequence: query and answer are (sequences, heads, width), key and value
    (tokens, heads, width). No product of matrices, so all lengths go at once."""
    counts = torch.tensor(lengths, device=query.device)
    total = functools.partial(torch.segment_reduce, lengths=counts, unsafe=True)
    scores = (query * scale).repeat_interleave(counts, 0).mul_(key).sum(-1, dtype=torch.float32)
    highest = total(scores, "max").repeat_interleave(counts, 0)
    weights = (scores - highest).exp_()  # (tokens, heads)
    answer = total((weights[..., None] * value).flatten(1), "sum").view(query.shape)
    return (answer / total(weights, "sum")[..., None]).to(query.dtype)


def _attend_by_powers(query: Tensor, key: Tensor, value: Tensor, near: Tensor | None, scale: float) -> Tensor:
    """bfloat16 attention on a CPU, (count, heads, length, width): half the time of torch's own for texts.

    Where hardware multiplies bfloat16, most of attention's time goes into the softmax. It is a quotient of
    powers, here of two: one pass over the scores, where the search for each row's maximum takes more than
    one. The maximum only keeps the powers within range. bfloat16 has the range of float32, so without it
    scores up to about 78 are safe; when a sum says that some were not, their heads go the ordinary way.

    Products are of rounded sizes, with zeros in what is spare: oneDNN compiles a kernel for every size and
    keeps it, so that memory would grow with every new count and length.
    """
    count, heads, length, width = query.shape
    room = query.new_zeros(3, rounded_count(count), heads, rounded_length(length), width)
    inside = (slice(count), slice(None), slice(length))
    torch.mul(query, scale * math.log2(math.e), out=room[0][inside])
    room[1][inside], room[2][inside] = key, value
    q, k, v = room.flatten(1, 2)  # (rounded count * heads, rounded length, width)
    answer = torch.empty_like(q)
    chunk = max(1, _SCORES // q.shape[1] ** 2)
    for part in (slice(first, first + chunk) for first in range(0, len(q), chunk)):
        powers = torch.bmm(q[part], k[part].transpose(1, 2))
        if near is not None:
            powers[:, :length, :length].masked_fill_(~near, -math.inf)
        powers.exp2_()
        powers[:, :, length:] = 0
        sums = powers.sum(-1, keepdim=True)
        smallest, largest = torch.aminmax(sums)
        if smallest > _SMALLEST and largest < _LARGEST:
            torch.bmm(powers, v[part], out=answer[part]).div_(sums)
        else:
            texts = (part, slice(length))
            answer[texts] = functional.scaled_dot_product_attention(
                q[texts], k[texts], v[texts], attn_mask=near, scale=math.log(2)
            )
    return answer.view(room.shape[1:])[inside]


def rounded_count(count: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24 … that is at least `count`."""
    power = 1 << (count - 1).bit_length()
    return power * 3 // 4 if power * 3 % 4 == 0 and count <= power * 3 // 4 else power


def rounded_length(length: int) -> int:
    """The next multiple of 8, of 16 from 64 on, of 32 from 256 on."""
    step = 8 if length <= 64 else 16 if length <= 256 else 32
    return -(-length // step) * step

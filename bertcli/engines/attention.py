"""Attention over a batch: sequences of several lengths end to end, none of which sees another."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.engines.device import ATTENTION_STEP
from bertcli.engines.grouped_attention import GroupedAttention, near

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before torch 2.10
    varlen_attn = None  # type: ignore[assignment]


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
    if dtype in (torch.float16, torch.bfloat16) and _has_varlen(device):
        return Varlen(lengths, device)
    return Grouped(lengths, device)


@functools.cache
def _has_varlen(device: torch.device) -> bool:
    """Whether torch has FlashAttention for sequences end to end with a window, on a GPU that runs it (Ampere)."""
    if varlen_attn is None or "window_size" not in inspect.signature(varlen_attn).parameters:
        return False
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


class Varlen:
    """One call of FlashAttention (Dao 2023) for all sequences, which pads nothing."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self._tokens, self._longest = sum(lengths), max(lengths)
        self._stops = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(device)

    def attend(self, qkv: Tensor, scale: float, reach: int | None = None) -> Tensor:
        q, k, v = qkv[: self._tokens].unbind(1)
        window = (-1, -1) if reach is None else (reach - 1, reach - 1)
        mixed = varlen_attn(
            q, k, v, self._stops, self._stops, self._longest, self._longest, scale=scale, window_size=window
        )
        assert isinstance(mixed, Tensor)  # without `return_aux`
        return functional.pad(mixed, (0, 0, 0, 0, 0, len(qkv) - self._tokens))


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

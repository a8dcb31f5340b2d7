"""Attention that knows distances, over a batch: sequences of equal length run together, and nothing is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from bertcli.architectures.architecture import Disentangled, RelativeBias
from bertcli.architectures.positions import angles, bias_buckets, distance_rows

if TYPE_CHECKING:
    from bertcli.architectures.architecture import Rotary

_SCORES = 1 << 22  # numbers of scores that are made at a time


class Relative:
    """The attention of sequences end to end in ascending length, with what distances add to the scores:
    the same in all layers (`bias`: (buckets, heads)), or made in each from its own vectors of distances."""

    def __init__(
        self,
        scheme: RelativeBias | Disentangled,
        lengths: Sequence[int],
        device: torch.device,
        bias: Tensor | None = None,
    ) -> None:
        self._groups = [(length, len(list(same))) for length, same in groupby(lengths)]
        self._rows: dict[int, Tensor] = {}
        self._spans: dict[int, slice] = {}  # of a short text, few distances are there
        for length, _ in self._groups:
            rows = (
                bias_buckets(scheme, length)
                if isinstance(scheme, RelativeBias)
                else distance_rows(scheme, length)
            )
            found = torch.from_numpy(rows).to(device)
            self._rows[length] = found if bias is None else bias[found].permute(2, 0, 1).contiguous()
            self._spans[length] = slice(int(rows.min()), int(rows.max()) + 1)

    def attend(
        self, qkv: Tensor, scale: float, key: Tensor | None = None, query: Tensor | None = None
    ) -> Tensor:
        """softmax(QKᵀ·scale + added)·V within each sequence: (tokens, 3, heads, width) -> (tokens, heads, width).

        `key` and `query` are the layer's own of each distance, (heads, distances, width), times `scale`. Rows behind
        the last sequence come out as zeros.
        """
        answer = qkv.new_zeros(qkv[:, 0].shape)
        for start, count, length in self._pieces(qkv.shape[2]):
            part = slice(start, start + count * length)
            q, k, v = qkv[part].view(count, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
            rows = self._rows[length]
            added = rows[None] if rows.dim() == 3 else _distances(q, k, rows, self._spans[length], key, query)
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=scale)
            answer[part].view(count, length, *answer.shape[1:]).copy_(mixed.transpose(1, 2))
        return answer

    def _pieces(self, heads: int) -> Iterator[tuple[int, int, int]]:
        """(first row, sequences, length) of what is computed at a time."""
        start = 0
        for length, count in self._groups:
            most = max(1, _SCORES // (heads * length**2))
            for first in range(0, count, most):
                yield start + first * length, min(most, count - first), length
            start += count * length


def _distances(
    q: Tensor, k: Tensor, rows: Tensor, span: slice, key: Tensor | None, query: Tensor | None
) -> Tensor | None:
    """What distances add to the scores of queries and keys (count, heads, length, width): content to position
    and position to content (see `architecture.Disentangled`). `rows` are in `span`."""
    added = None
    index = (rows - span.start).expand(*q.shape[:2], *rows.shape)
    if key is not None:
        added = (q @ key[:, span].transpose(1, 2)).gather(-1, index)
    if query is not None:
        content = (query[:, span] @ k.transpose(-1, -2)).gather(-2, index)
        added = content if added is None else added.add_(content)
    return added


class Turns:
    """Rotary positions of a batch: cosines and sines for each token, the same for layers of one base."""

    def __init__(self, scheme: Rotary, places: Tensor, width: int, table: Tensor | None) -> None:
        self._scheme, self._places, self._width, self._table = scheme, places, width, table
        self._made: dict[float, tuple[Tensor, Tensor]] = {}

    def turn(self, layer: int, qkv: Tensor) -> None:
        """Turn queries and keys, (tokens, 3, heads, width), in place."""
        cos, sin = self._angles(self._scheme.thetas[layer])  # (tokens, 1, 1, width / 2)
        parts = qkv[:, : 3 if self._scheme.values else 2]
        half = self._width // 2
        if self._scheme.interleaved:
            a, b = parts[..., ::2], parts[..., 1::2]
        else:
            a, b = parts[..., :half], parts[..., half:]
        x, y = a.float(), b.float()
        first, second = x * cos - y * sin, y * cos + x * sin
        a.copy_(first)
        b.copy_(second)

    def _angles(self, theta: float) -> tuple[Tensor, Tensor]:
        if theta not in self._made:
            if self._table is not None:
                sin, cos = self._table.chunk(2, dim=-1)
            else:
                found = angles(theta, int(self._places.max()) + 1, self._width)
                cos, sin = (torch.from_numpy(part).to(self._places.device) for part in found)
            self._made[theta] = (cos[self._places][:, None, None], sin[self._places][:, None, None])
        return self._made[theta]

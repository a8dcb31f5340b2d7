"""Positions of encoder-decoders as numbers. NumPy, for both engines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from bertcli.architectures.positions import growing_buckets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array
    from bertcli.engines.seq2seq.architecture import Seq2SeqArchitecture

    Whole = NDArray[np.int64]


def computed_positions(architecture: Seq2SeqArchitecture) -> Array:
    """The table of positions of a model that has fixed ones, (positions, width)."""
    limit, offset = architecture.position_limit or 0, architecture.position_offset
    if architecture.positions == "marian":
        return marian_positions(limit, architecture.width)
    return tensor2tensor_positions(limit + offset, architecture.width)[offset:]


def marian_positions(count: int, width: int) -> Array:
    """Sines in the first half of each row and cosines in the second (Vaswani et al. 2017, section 3.5, which
    interleaves them): (count, width)."""
    exponents = 2 * (np.arange(width) // 2) / width
    turned = np.arange(count)[:, None] / 10_000**exponents
    found: Array = np.concatenate([np.sin(turned[:, 0::2]), np.cos(turned[:, 1::2])], 1).astype(np.float32)
    return found


def tensor2tensor_positions(count: int, width: int) -> Array:
    """The same with the frequencies of tensor2tensor, as in M2M-100: (count, width)."""
    half = width // 2
    step = np.float32(math.log(10_000) / (half - 1))
    frequencies = np.exp(np.arange(half, dtype=np.float32) * -step)
    turned = np.arange(count, dtype=np.float32)[:, None] * frequencies
    table = np.concatenate([np.sin(turned), np.cos(turned)], 1)
    found: Array = np.pad(table, ((0, 0), (0, width % 2)))
    return found


def distance_buckets(
    architecture: Seq2SeqArchitecture, queries: int, keys: int, *, bidirectional: bool
) -> Whole:
    """T5's buckets of the distances from the last `queries` of `keys` positions (rows) to all (columns): (queries,
    keys). Half of them are for positions that follow where attention is bidirectional."""
    count, most = architecture.relative_buckets, architecture.relative_distance
    places = np.arange(keys)
    distance = places - places[keys - queries :, None]
    if not bidirectional:
        return growing_buckets(np.maximum(-distance, 0), count, most)
    half = count // 2
    found: Whole = growing_buckets(np.abs(distance), half, most) + half * (distance > 0)
    return found

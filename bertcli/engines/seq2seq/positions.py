"""Positions of encoder-decoders as numbers. NumPy, for both engines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array
    from bertcli.engines.seq2seq.architecture import Architecture

    Whole = NDArray[np.int64]


def computed_positions(architecture: Architecture) -> Array:
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


def distance_buckets(architecture: Architecture, queries: int, keys: int, *, bidirectional: bool) -> Whole:
    """T5's buckets of the distances from the last `queries` of `keys` positions (rows) to all (columns): (queries,
    keys).

    One for each short distance, then logarithmically wider ones; half of them are for positions that follow where
    attention is bidirectional (Raffel et al. 2020, section 2.1). In float32, as transformers computes them.
    """
    count, most = architecture.relative_buckets, architecture.relative_distance
    places = np.arange(keys)
    distance = places - places[keys - queries :, None]
    buckets = np.zeros_like(distance)
    if bidirectional:
        count //= 2
        buckets = (distance > 0) * count
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = count // 2
    grown = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    grown = grown / np.float32(math.log(most / exact)) * np.float32(count - exact)
    wide = np.minimum(exact + grown.astype(np.int64), count - 1)
    found: Whole = buckets + np.where(distance < exact, distance, wide)
    return found

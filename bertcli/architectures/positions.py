"""Positions as numbers: what the embeddings count, buckets of distances, and angles. NumPy, for both engines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.architectures.architecture import Disentangled, RelativeBias

    Whole = NDArray[np.int64]


def embedded_positions(ids: Whole, padding: int | None) -> Whole:
    """The row of each token in the table of positions: (n, length) or (length,), for token ids (n, length).

    With `padding` (see `architecture.Embeddings`) the token of that id is not counted.
    """
    if padding is None:
        return np.arange(ids.shape[1])
    real = ids != padding
    counted: Whole = padding + np.cumsum(real, axis=1) * real
    return counted


def bias_buckets(scheme: RelativeBias, length: int) -> Whole:
    """The bucket of the distance from each token (row) to each other (column): (length, length)."""
    distance = np.arange(length) - np.arange(length)[:, None]
    half = scheme.buckets // 2
    found: Whole = growing_buckets(np.abs(distance), half, scheme.distance) + half * (distance > 0)
    return found


def growing_buckets(distance: Whole, count: int, most: int) -> Whole:
    """The bucket of each distance, which is at least 0: the first half of `count` buckets hold one distance each, and
    the others grow logarithmically up to `most` (Raffel et al.: T5, 2019, section 2.1). In float32, as transformers
    computes them."""
    exact = count // 2
    grown = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    grown = grown / np.float32(math.log(most / exact)) * np.float32(count - exact)
    found: Whole = np.where(distance < exact, distance, np.minimum(exact + grown.astype(np.int64), count - 1))
    return found


def distance_rows(scheme: Disentangled, length: int) -> Whole:
    """The row of the table of distances for each token (row) and each other (column): (length, length).

    Buckets as in DeBERTa-v2 (`make_log_bucket_position` of its authors), in float32 as transformers has them.
    """
    distance = np.arange(length)[:, None] - np.arange(length)
    if scheme.buckets:
        middle = scheme.buckets // 2
        far = np.abs(distance)
        ratio = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(middle))
        ratio = ratio / np.log(np.float32((scheme.distance - 1) / middle)) * np.float32(middle - 1)
        logarithmic = np.sign(distance) * (np.ceil(ratio).astype(np.int64) + middle)
        distance = np.where(far <= middle, distance, logarithmic)
    rows: Whole = np.clip(distance + scheme.span, 0, 2 * scheme.span - 1)
    return rows


def angles(theta: float, length: int, width: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Cosines and sines by which rotary positions turn the pairs of a head: (length, width / 2) each."""
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    frequencies = np.float32(1) / np.float32(theta) ** exponents
    turned = np.arange(length, dtype=np.float32)[:, None] * frequencies
    return np.cos(turned), np.sin(turned)

"""Vectors in short codes, so that a million are looked through in some milliseconds.

A vector of `dim` numbers is divided into parts of two, and each part is replaced by the nearest of 16 points (product
quantization with 4 bits; Jégou et al. 2011, André et al. 2017): 96 bytes for 384 numbers, compared in registers by
faiss. The nearest by their codes are candidates, whose own vectors are compared then. Every code is looked at, so what
is missed depends on rounding alone: docs/performance.md has the recall.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from bertcli.errors import EngineError, InputError, first_line
from bertcli.tasks.similarity import Similarity, cosine_scales

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array

BITS = 4
TRAINED_ON = 50_000
"""Vectors that the points are chosen from."""

BLOCK = 20_000
"""Vectors that are coded at once: 30 MB of 384 dimensions."""

CODED: tuple[Similarity, ...] = ("cosine", "dot", "euclidean")
"""The similarity functions that faiss compares codes by."""


def import_faiss() -> Any:
    """The module. Raises EngineError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise EngineError(
            "an index needs the package faiss-cpu", hint="pip install 'bertcli[index]'"
        ) from error
    return faiss


def write_codes(
    path: str,
    vectors: NDArray[np.float32],
    similarity: Similarity,
    *,
    threads: int,
    extended: str | None = None,
) -> None:
    """Write the codes of `vectors` (rows, dim) to a file. `extended` is a file with those of the first rows."""
    faiss = import_faiss()
    faiss.omp_set_num_threads(threads)
    rows, dim = vectors.shape
    if extended is not None:
        index = _read(extended, 0)
    else:
        metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexPQFastScan(dim, dim // 2 if dim % 2 == 0 else dim, BITS, metric)
        sample = np.linspace(0, rows - 1, min(rows, TRAINED_ON)).astype(np.int64)
        index.train(_compared(vectors[sample], similarity))
    for start in range(index.ntotal, rows, BLOCK):
        index.add(_compared(vectors[start : start + BLOCK], similarity))
    faiss.write_index(index, path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())


class Codes:
    """The codes of a file, which is read in place. Raises InputError for one that is damaged."""

    def __init__(self, path: str, similarity: Similarity) -> None:
        self._index = _read(path, import_faiss().IO_FLAG_MMAP_IFC)
        self._similarity = similarity

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def nearest(self, queries: Array, count: int, *, threads: int) -> NDArray[np.int64]:
        """The rows (queries, count) that are nearest to each query by their codes, in any order."""
        import_faiss().omp_set_num_threads(threads)
        rows: NDArray[np.int64] = self._index.search(_compared(queries, self._similarity), count)[1]
        return rows


def _compared(vectors: NDArray[np.float32], similarity: Similarity) -> NDArray[np.float32]:
    """The vectors as their codes are compared: for the cosine, of length 1, and 0 for one without direction."""
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    if similarity != "cosine":
        return rows
    return rows * np.nan_to_num(cosine_scales(rows))[:, None]


def _read(path: str, flags: int) -> Any:
    try:
        return import_faiss().read_index(path, flags)
    except RuntimeError as error:
        raise InputError(
            f"cannot be read: {first_line(error)}", where=path, hint="index the texts again"
        ) from error

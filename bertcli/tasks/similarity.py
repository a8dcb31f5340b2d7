"""How near two vectors are, by the similarity function that the model was trained for.

The functions are those of sentence-transformers, which says in config_sentence_transformers.json
(`similarity_fn_name`) which one it is:

    cosine      q·v / (|q||v|): 1 for the same direction
    dot         q·v
    euclidean   -√Σ(q - v)²
    manhattan   -Σ|q - v|

All are computed in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
SIMILARITIES: tuple[Similarity, ...] = get_args(Similarity)
INT8 = 127  # what `embed --dtype int8` multiplies vectors of length 1 by


def known_similarity(name: str | None) -> Similarity:
    """The similarity function of this name, the cosine without one. Raises ValueError for an unknown one."""
    for similarity in SIMILARITIES:
        if similarity == (name or "cosine"):
            return similarity
    raise ValueError(f"{name!r} is none of {', '.join(SIMILARITIES)}")


def similarities(vectors: NDArray[Any], queries: Array, similarity: Similarity) -> Array:
    """How near `vectors` (rows, dim) are to `queries` (queries, dim): (rows, queries); not a number for a row
    that is none. Vectors of int8 are multiplied by 1/127."""
    if similarity == "cosine":
        return cosines_of(vectors, cosine_scales(queries)[:, None] * queries)
    rows = numbers(vectors)
    with np.errstate(invalid="ignore", over="ignore"):
        if similarity == "dot":
            found: Array = rows @ queries.T
        else:
            found = np.stack([_distance(rows - query, similarity) for query in queries], axis=1)
    return np.where(np.isfinite(found), found, np.float32("nan"))


def numbers(vectors: NDArray[Any]) -> Array:
    """The vectors (rows, dim) as they were before they were written: float32, divided where they are int8. A
    row of zeros among whole numbers belongs to a record without a vector and becomes NaN."""
    rows: Array = np.asarray(vectors, dtype=np.float32)
    if vectors.dtype.kind == "i":
        rows = np.where(rows.any(axis=1, keepdims=True), rows / np.float32(INT8), np.float32("nan"))
    return rows


def _distance(differences: Array, similarity: Similarity) -> Array:
    """Minus the distance (rows,)."""
    distances: Array = (
        np.abs(differences).sum(axis=1)
        if similarity == "manhattan"
        else np.sqrt(np.einsum("ij,ij->i", differences, differences))
    )
    return -distances


def cosines_of(vectors: NDArray[Any], directions: Array) -> Array:
    """The cosines (rows, directions) of vectors of any length and dtype with `directions` of length 1."""
    rows: Array = np.asarray(vectors, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        cosines: Array = rows @ directions.T
        cosines *= cosine_scales(rows)[:, None]
    return np.clip(cosines, -1, 1, out=cosines)  # what rounding adds beyond them is none


def cosine_scales(rows: Array) -> Array:
    """1/|v| of each row (rows,); not a number where a row has no direction, so that no cosine compares."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        usable = np.isfinite(lengths) & (lengths > 0)
        scales: Array = np.where(usable, 1 / lengths, np.nan).astype(np.float32)
    return scales

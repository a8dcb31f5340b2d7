"""How far the answers of one dtype are from those in float32."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bertcli.records import Result

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over `texts` texts: the largest difference of a number (a score, or a dimension of a vector), the least
    cosine of two vectors, and how many texts got another best label or first words; None where there is no
    such thing."""

    texts: int
    difference: float
    cosine: float | None = None
    flips: int | None = None


def agreement(reference: Sequence[Result], found: Sequence[Result]) -> Agreement:
    """Compare answers of `label`, `fill` or `embed` to the same texts; those that failed are left out."""
    pairs = [
        (one.values, other.values)
        for one, other in zip(reference, found, strict=True)
        if one.problem is None and other.problem is None
    ]
    if pairs and "embedding" in pairs[0][0]:
        return _of_vectors(pairs)
    scores = [(_scores(one), _scores(other)) for one, other in pairs]
    differences = [
        abs(score - other[name]) for one, other in scores for name, score in one.items() if name in other
    ]
    several = any(len(one) > 1 for one, _ in scores)
    flips = sum(_best(one) != _best(other) for one, other in scores) if several else None
    return Agreement(len(pairs), max(differences, default=0.0), flips=flips)


def _of_vectors(pairs: Sequence[tuple[Values, Values]]) -> Agreement:
    one = np.stack([first["embedding"] for first, _ in pairs]).astype(np.float64)
    other = np.stack([second["embedding"] for _, second in pairs]).astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return Agreement(len(pairs), float(np.abs(one - other).max()), cosine=float(cosines.min()))


def _scores(answer: Values) -> dict[Hashable, float]:
    """The scores of an answer by what they are scores of: labels, fillings, or the one number there is."""
    if "fills" in answer:
        return {tuple(fill["words"]): fill["score"] for fill in answer["fills"]}
    if "labels" in answer:
        return {found["label"]: found["score"] for found in answer["labels"]}
    return {"score": answer["score"]}


def _best(scores: Mapping[Hashable, float]) -> Hashable:
    return max(scores, key=scores.__getitem__, default=None)

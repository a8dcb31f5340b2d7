"""How far the answers of one dtype are from those in float32."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.records import Result

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over `texts` texts: the largest difference of a number (a score, or a dimension of a vector); the least cosine of
    two vectors, that of one in 100 texts and the median; and how many texts got another answer (label, words, spans).
    None where there is no such thing."""

    texts: int
    difference: float
    cosine: float | None = None
    cosine_percentile: float | None = None
    cosine_median: float | None = None
    flips: int | None = None

    @property
    def share(self) -> float:
        """What a user may demand: the cosine that 99 of 100 texts reach, or the share of texts with the same answer; 1
        less the largest difference of a score where there is neither."""
        if self.cosine_percentile is not None:
            return self.cosine_percentile
        if self.flips is not None:
            return 1 - self.flips / max(1, self.texts)
        return 1 - self.difference


def agreement(reference: Sequence[Result], found: Sequence[Result]) -> Agreement:
    """Compare answers to the same texts; those that failed or are blank are left out."""
    pairs = [
        (one.values, other.values)
        for one, other in zip(reference, found, strict=True)
        if one.status == other.status == "done"
    ]
    vectors = [(_vectors(one), _vectors(other)) for one, other in pairs]
    if vectors and all(len(one) and one.shape == other.shape for one, other in vectors):
        return _of_vectors(vectors)
    scores = [(_scores(one), _scores(other)) for one, other in pairs]
    differences = [
        abs(score - other[name]) for one, other in scores for name, score in one.items() if name in other
    ]
    answers = [(_answer(one), _answer(other)) for one, other in pairs]
    has_answers = any(one is not None for one, _ in answers)
    flips = sum(one != other for one, other in answers) if has_answers else None
    return Agreement(len(pairs), max(differences, default=0.0), flips=flips)


def _vectors(answer: Values) -> NDArray[np.float64]:
    """The embedding of a text, or those of its tokens: (vectors, dim)."""
    found = answer.get("embedding")
    if isinstance(found, np.ndarray):
        return (np.unpackbits(found) if found.dtype == np.uint8 else found).astype(np.float64)[None]
    tokens = answer.get("tokens")
    if not isinstance(tokens, list) or not tokens:
        return np.empty((0, 0))
    return np.stack([token["embedding"] for token in tokens]).astype(np.float64)


def _of_vectors(pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Agreement:
    cosines = np.array([_cosine(one, other) for one, other in pairs])
    difference = max(float(np.abs(one - other).max()) for one, other in pairs)
    low, percentile, median = np.quantile(cosines, [0, 0.01, 0.5], method="lower").tolist()
    return Agreement(len(pairs), difference, low, percentile, median)


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The least cosine of vectors (vectors, dim) and those beside them."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / np.maximum(lengths, 1e-12)).min())


def _answer(answer: Values) -> Hashable:
    """What is not a matter of degree: the best label or words, the spans; None where all is."""
    if "spans" in answer:
        return tuple((span["label"], span["start"], span["end"]) for span in answer["spans"])
    words = tuple((name, value) for name, value in answer.items() if isinstance(value, str))
    if words:
        return words
    scores = {} if "scores" in answer else _scores(answer)
    return _best(scores) if len(scores) > 1 else None


def _scores(answer: Values) -> dict[Hashable, float]:
    """The scores of an answer by what they are scores of: labels, fillings, or the one number there is."""
    if "scores" in answer:  # the similarities of a text to several queries
        return dict(enumerate(np.asarray(answer["scores"], np.float64).tolist()))
    if "spans" in answer:
        return {(span["label"], span["start"], span["end"]): span["score"] for span in answer["spans"]}
    if "fills" in answer:
        return {tuple(fill["words"]): fill["score"] for fill in answer["fills"]}
    if "labels" in answer:
        return {found["label"]: found["score"] for found in answer["labels"]}
    return {"score": answer["score"]} if isinstance(answer.get("score"), float) else {}


def _best(scores: Mapping[Hashable, float]) -> Hashable:
    return max(scores, key=scores.__getitem__, default=None)

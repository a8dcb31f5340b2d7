"""What is measured on the held-out part while a head is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Figures = Mapping[str, float]
Span = tuple[str, int, int]
"""(type, first word, last word)."""


def label_figures(predicted: NDArray[Any], true: NDArray[Any], classes: int) -> dict[str, float]:
    """Macro F1, balanced accuracy and accuracy of classes [n], as scikit-learn defines them, over the classes
    that are there or predicted."""
    f1, recalls = [], []
    for number in range(classes):
        hits = int(((predicted == number) & (true == number)).sum())
        claimed, actual = int((predicted == number).sum()), int((true == number).sum())
        if claimed + actual:
            f1.append(2 * hits / (claimed + actual))
        if actual:
            recalls.append(hits / actual)
    return {
        "macro_f1": float(np.mean(f1)),
        "balanced_accuracy": float(np.mean(recalls)),
        "accuracy": float((predicted == true).mean()),
    }


def several_figures(predicted: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Micro and macro F1 over [n, classes]; a class that is neither there nor predicted counts as 0."""
    hits, sizes = (predicted & true).sum(0), predicted.sum(0) + true.sum(0)
    each = np.where(sizes > 0, 2 * hits / np.maximum(sizes, 1), 0.0)
    return {"micro_f1": float(2 * hits.sum() / max(1, sizes.sum())), "macro_f1": float(each.mean())}


def number_figures(predicted: NDArray[Any], true: NDArray[Any]) -> dict[str, float]:
    """Share of the variance explained (R²), mean absolute error, and Spearman's rank correlation."""
    variance = float(((true - true.mean()) ** 2).sum())
    residue = float(((true - predicted) ** 2).sum())
    return {
        "r2": 1 - residue / variance if variance else 0.0,
        "mean_absolute_error": float(np.abs(true - predicted).mean()),
        "spearman": spearman(predicted, true),
    }


def tag_figures(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> dict[str, float]:
    """Micro F1, precision and recall of whole entities where tags are BIO, and the accuracy of words."""
    pairs = [
        (p, t)
        for tags, wanted in zip(predicted, true, strict=True)
        for p, t in zip(tags, wanted, strict=True)
    ]
    accuracy = {"accuracy": sum(p == t for p, t in pairs) / len(pairs)}
    wanted_spans = {(n, *span) for n, tags in enumerate(true) for span in spans(tags)}
    if not wanted_spans:
        return accuracy
    found = {(n, *span) for n, tags in enumerate(predicted) for span in spans(tags)}
    hits = len(found & wanted_spans)
    return {
        "entity_f1": 2 * hits / (len(found) + len(wanted_spans)),
        "precision": hits / max(1, len(found)),
        "recall": hits / len(wanted_spans),
    } | accuracy


def spans(tags: Sequence[str]) -> set[Span]:
    """The entities of a BIO tag sequence as seqeval's default mode (conlleval) reads them.

    An I- tag that follows another type, or nothing, begins an entity of its own.
    """
    found: set[Span] = set()
    kind, start = "", 0
    for index, tag in enumerate([*tags, "O"]):
        prefix, _, this = tag.partition("-")
        if kind and (prefix != "I" or this != kind):
            found.add((kind, start, index - 1))
            kind = ""
        if prefix in ("B", "I") and this and not kind:
            kind, start = this, index
    return found


def spearman(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Rank correlation of two arrays [n], ties sharing their mean rank (Spearman 1904); 0 where one is
    constant."""
    a, b = _ranks(first), _ranks(second)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    means: NDArray[np.float64] = (last - (sizes - 1) / 2)[group]
    return means

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertcli.benchmark.agreement import Agreement, agreement
from bertcli.records import Problem, Record, Result


def results(*values: dict[str, Any] | None) -> list[Result]:
    failed = Problem("engine", "broken")
    return [
        Result(Record(number, {}, "text"), value or {}, None if value else failed)
        for number, value in enumerate(values)
    ]


def labels(**scores: float) -> dict[str, Any]:
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    return {"label": ranked[0][0], "labels": [{"label": name, "score": score} for name, score in ranked]}


def test_labels_flip_when_another_one_is_best() -> None:
    reference = results(labels(a=0.6, b=0.4), labels(a=0.9, b=0.1), None)
    found = results(labels(a=0.45, b=0.55), labels(a=0.8, b=0.2), labels(a=1.0))
    told = agreement(reference, found)
    assert told == Agreement(2, pytest.approx(0.15), flips=1)


def test_fillings_are_told_by_their_words() -> None:
    one = {"fills": [{"words": ["a", "b"], "score": 0.5}, {"words": ["c", "d"], "score": 0.25}]}
    other = {"fills": [{"words": ["c", "d"], "score": 0.375}, {"words": ["e", "f"], "score": 0.1}]}
    assert agreement(results(one), results(other)) == Agreement(1, 0.125, flips=1)
    assert agreement(results(one), results(one)) == Agreement(1, 0.0, flips=0)


def test_a_number_cannot_flip() -> None:
    assert agreement(results({"score": 3.0}), results({"score": 2.5})) == Agreement(1, 0.5)


def test_vectors_have_a_least_cosine() -> None:
    one = results({"embedding": np.array([1.0, 0.0])}, {"embedding": np.array([0.0, 2.0])})
    other = results({"embedding": np.array([3.0, 4.0])}, {"embedding": np.array([0.0, 1.0])})
    assert agreement(one, other) == Agreement(2, 4.0, *[pytest.approx(0.6)] * 3)


def test_one_in_a_hundred_cosines_is_lower_and_half_are() -> None:
    angles = np.linspace(0, 1, 201)
    one = results(*({"embedding": np.array([1.0, 0.0])} for _ in angles))
    other = results(*({"embedding": np.array([np.cos(angle), np.sin(angle)])} for angle in angles))
    found = agreement(one, other)
    assert found.cosine == pytest.approx(np.cos(1))
    assert found.cosine_percentile == pytest.approx(np.cos(angles[-3]))
    assert found.cosine_median == pytest.approx(np.cos(0.5))
    assert found.share == found.cosine_percentile


def test_other_spans_are_another_answer() -> None:
    one = {"label": "PER", "start": 0, "end": 3, "score": 0.5}
    other = {**one, "end": 4}
    found = agreement(
        results({"spans": [one]}, {"spans": []}, {"spans": [one]}),
        results({"spans": [other]}, {"spans": []}, {"spans": [one]}),
    )
    assert (found.flips, found.share) == (1, pytest.approx(2 / 3))


def test_similarities_to_queries_are_scores() -> None:
    found = agreement(
        results({"scores": np.array([0.5, 0.25])}), results({"scores": np.array([0.25, 0.375])})
    )
    assert found == Agreement(1, 0.25)


def test_nothing_to_compare() -> None:
    assert agreement(results(None), results(None)) == Agreement(0, 0.0)

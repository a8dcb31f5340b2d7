"""Counts, averages and their names: scikit-learn's definitions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_recall_fscore_support

from bertcli.evaluation.classification import (
    any_of_many,
    confusion,
    counts_of_confusion,
    counts_of_flags,
    one_of_many,
)

LABELS = 4
PLACES = st.integers(0, LABELS - 1)
ANSWERS = st.lists(st.tuples(PLACES, PLACES, st.integers(0, 3)), min_size=1, max_size=40).filter(
    lambda rows: any(weight for *_, weight in rows)
)
FLAGS = st.lists(st.booleans(), min_size=LABELS, max_size=LABELS)
SETS = st.lists(st.tuples(FLAGS, FLAGS), min_size=1, max_size=30)


def averages_by_scikit_learn(gold: Any, answers: Any, labels: list[int]) -> dict[str, float]:
    found = {}
    for average in ("macro", "micro"):
        figures = precision_recall_fscore_support(
            gold, answers, labels=labels, average=average, zero_division=0
        )
        found |= dict(
            zip((f"{average}_precision", f"{average}_recall", f"{average}_f1"), figures[:3], strict=True)
        )
    return found


@pytest.mark.slow
@given(rows=ANSWERS)
def test_one_of_many_is_scikit_learns_on_the_records_drawn(rows: list[tuple[int, int, int]]) -> None:
    gold, answers, weights = (np.array(column) for column in zip(*rows, strict=True))
    found = one_of_many(gold, answers, LABELS)(weights.astype(float))
    drawn_gold, drawn_answers = np.repeat(gold, weights), np.repeat(answers, weights)
    occur = sorted({*drawn_gold.tolist(), *drawn_answers.tolist()})
    expected = averages_by_scikit_learn(drawn_gold, drawn_answers, occur)
    expected["accuracy"] = accuracy_score(drawn_gold, drawn_answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers that are not in the file
        expected["balanced_accuracy"] = balanced_accuracy_score(drawn_gold, drawn_answers)
    assert found == pytest.approx(expected)


@pytest.mark.slow
@given(rows=SETS)
def test_any_of_many_is_scikit_learns(rows: list[tuple[list[bool], list[bool]]]) -> None:
    gold, answers = (np.array(column) for column in zip(*rows, strict=True))
    found = any_of_many(gold, answers)(np.ones(len(rows)))
    occur = np.flatnonzero((gold | answers).any(axis=0)).tolist()
    expected = (
        averages_by_scikit_learn(gold, answers, occur)
        if occur
        else dict.fromkeys(found.keys() - {"accuracy"}, 0.0)
    )
    expected["accuracy"] = accuracy_score(gold, answers)
    assert found == pytest.approx(expected)


@given(rows=ANSWERS)
def test_figures_of_each_label_are_scikit_learns(rows: list[tuple[int, int, int]]) -> None:
    gold, answers, _ = (np.array(column) for column in zip(*rows, strict=True))
    counts = counts_of_confusion(confusion(gold, answers, LABELS, np.ones(len(gold))))
    precision, recall, f1, support = precision_recall_fscore_support(
        gold, answers, labels=range(LABELS), zero_division=0
    )
    np.testing.assert_allclose(counts.precision, precision)
    np.testing.assert_allclose(counts.recall, recall)
    np.testing.assert_allclose(counts.f1, f1)
    np.testing.assert_array_equal(counts.support, support)


@given(rows=ANSWERS)
def test_one_label_is_a_special_case_of_many(rows: list[tuple[int, int, int]]) -> None:
    gold, answers, weights = (np.array(column) for column in zip(*rows, strict=True))
    by_table = counts_of_confusion(confusion(gold, answers, LABELS, weights.astype(float)))
    flags = np.eye(LABELS, dtype=bool)
    by_flags = counts_of_flags(flags[gold], flags[answers], weights.astype(float))
    assert by_table.averages() == pytest.approx(by_flags.averages())

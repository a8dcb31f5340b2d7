"""Figures of numbers are scikit-learn's, in every resample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from bertcli.evaluation.numbers import number_measure

NUMBERS = st.integers(-6, 6).map(lambda number: number / 2)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 3)), min_size=2, max_size=30)


@given(rows=ROWS)
def test_errors_are_scikit_learns_on_the_records_drawn(rows: list[tuple[float, float, int]]) -> None:
    gold, answers, weights = (np.array(column) for column in zip(*rows, strict=True))
    drawn_gold, drawn_answers = np.repeat(gold, weights), np.repeat(answers, weights)
    assume(len(drawn_gold) >= 2)
    found = number_measure(gold, answers, errors=True)(weights)
    assert found["mean_absolute_error"] == pytest.approx(mean_absolute_error(drawn_gold, drawn_answers))
    expected = root_mean_squared_error(drawn_gold, drawn_answers)
    assert found["root_mean_squared_error"] == pytest.approx(expected)
    if len(set(drawn_gold)) == 1:
        assert math.isnan(found["r2"])
    else:
        assert found["r2"] == pytest.approx(r2_score(drawn_gold, drawn_answers))


def test_numbers_of_different_kinds_have_no_errors() -> None:
    rows = np.arange(3.0)
    assert number_measure(rows, rows, errors=False)(np.ones(3)).keys() == {"spearman", "pearson"}

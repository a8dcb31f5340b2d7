"""Pearson and Spearman are scipy's, ties included, in every resample."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bertcli.evaluation.correlation import Ranks, pearson, spearman

NUMBERS = st.integers(-3, 3).map(lambda number: number / 2)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 3)), min_size=2, max_size=30)


@given(rows=ROWS)
def test_correlations_are_scipys_on_the_records_drawn(rows: list[tuple[float, float, int]]) -> None:
    x, y, weights = (np.array(column) for column in zip(*rows, strict=True))
    drawn_x, drawn_y = np.repeat(x, weights), np.repeat(y, weights)
    assume(len(drawn_x) >= 2)
    found = pearson(x, y, weights), spearman(Ranks(x), Ranks(y), weights)
    if len(set(drawn_x)) == 1 or len(set(drawn_y)) == 1:
        assert all(map(math.isnan, found))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = stats.pearsonr(drawn_x, drawn_y).statistic, stats.spearmanr(drawn_x, drawn_y).statistic
    assert found == pytest.approx(expected)


@given(numbers=st.lists(NUMBERS, min_size=1, max_size=30))
def test_ranks_are_scipys(numbers: list[float]) -> None:
    np.testing.assert_allclose(Ranks(np.array(numbers)).of(np.ones(len(numbers))), stats.rankdata(numbers))

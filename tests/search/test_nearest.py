"""The nearest vectors: what looking at every one of them in float64 finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bertcli.search.nearest as module
from bertcli.errors import UsageError
from bertcli.records import Record, Result
from bertcli.search.nearest import near_duplicates, nearest, row_vector
from bertcli.search.sinks import Ranking

SMALL = st.integers(-2, 2).map(float)


def cosines(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """(queries, rows), NaN where a row has no direction."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(queries, axis=1)[:, None]
        return queries @ rows.T / lengths


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_NUMBERS", 12)
    monkeypatch.setattr(module, "TILE", 3)


@settings(deadline=None)
@given(data=st.data(), most=st.integers(1, 12), least=st.sampled_from([-1.0, 0.0, 0.5]))
def test_the_best_are_found_in_order_whatever_the_blocks(
    data: st.DataObject, most: int, least: float
) -> None:
    rows = np.array(data.draw(st.lists(st.lists(SMALL, min_size=3, max_size=3), min_size=1, max_size=20)))
    queries = np.array([[1.0, 0, 0], [0.5, -1, 2]], dtype=np.float32)
    found, _ = nearest(rows.astype(np.float32), queries, most=most, least=least, threads=2)
    for hits, expected in zip(found, cosines(rows, queries), strict=True):
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(hit.score == pytest.approx(expected[hit.row], abs=1e-6) for hit in hits)
        sure = np.flatnonzero(expected >= least + 1e-6)
        assert min(most, len(sure)) <= len(hits) <= most
        left = set(sure.tolist()) - {hit.row for hit in hits}
        assert all(expected[row] <= hits[-1].score + 1e-6 for row in left)
        assert all(np.isfinite(hit.score) for hit in hits)


def test_of_equals_the_first_are_found() -> None:
    rows = np.tile([1.0, 0.0], (50, 1))
    assert [
        hit.row for hit in nearest(rows.astype(np.float32), rows[:1].astype(np.float32), most=7)[0][0]
    ] == list(range(7))


def test_what_has_no_direction_is_near_to_nothing() -> None:
    rows = np.array([[0, 0], [np.nan, 1], [np.inf, 1], [-1, 0], [3e38, 3e38]])
    (hits,), _ = nearest(rows.astype(np.float32), np.array([[1, 0]], dtype=np.float32), most=9)
    assert [hit.row for hit in hits] == [3]


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(SMALL, min_size=2, max_size=2), min_size=1, max_size=10),
    least=st.sampled_from([0.3, 0.9, 1.0]),
)
def test_near_duplicates_are_all_pairs_once(rows: list[list[float]], least: float) -> None:
    array = np.array(rows)
    expected = cosines(array, array)
    found = {
        (pair.first, pair.second): pair.cosine
        for pair in near_duplicates(array.astype(np.float32), least, threads=2)
    }
    for first in range(len(rows)):
        for second in range(first + 1, len(rows)):
            if (first, second) in found:
                assert found[first, second] == pytest.approx(expected[first, second], abs=1e-6)
                assert expected[first, second] >= least - 1e-6
            else:
                assert not expected[first, second] >= least + 1e-6
    assert all(first < second for first, second in found)


def test_equal_vectors_are_duplicates_whatever_rounding_does() -> None:
    rows = np.random.default_rng(1).normal(size=(200, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = {(pair.first, pair.second) for pair in near_duplicates(np.concatenate([rows, rows]), 1.0)}
    assert found == {(row, row + 200) for row in range(200)}


def test_a_row_that_is_not_there_is_told() -> None:
    vectors = np.array([[1.0, 2], [0, 0]])
    assert row_vector(vectors, 1).tolist() == [[1, 2]]
    with pytest.raises(UsageError, match="no record 3, only 2"):
        row_vector(vectors, 3)
    with pytest.raises(UsageError, match="record 2 has no vector"):
        row_vector(vectors, 2)


@given(values=st.lists(st.sampled_from([-0.5, 0.1, 0.3, 0.3, 0.9]), max_size=30), most=st.integers(1, 5))
def test_a_ranking_keeps_the_best_of_a_stream(values: list[float], most: int) -> None:
    ranking = Ranking(2, most=most, least=0.0)
    for index, value in enumerate(values):
        record = Record(index, {}, "x")
        ranking.write(Result(record, {"scores": np.array([value, -value])}))
    ranking.write(Result(Record(len(values), {}, ""), {"scores": None}))
    expected = sorted((-value, index) for index, value in enumerate(values) if value >= 0)[:most]
    first, _ = ranking.best()
    assert [(-cosine, result.record.index) for result, cosine in first] == expected

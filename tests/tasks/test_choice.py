"""From scores to fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.engines.instant.arithmetic import softmax
from bertcli.errors import UsageError
from bertcli.tasks.choice import Choice, sigmoid

logits = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9).map(
    lambda values: np.array(values, dtype=np.float32)
)
SCORES = np.array([0.2, 0.7, 0.6], dtype=np.float32)


def chosen(scores: Any = SCORES, **options: Any) -> Any:
    return Choice(["a", "b", "c"], **options).values(scores)


def test_one_of_many_names_the_best() -> None:
    assert chosen() == {"label": "b", "score": pytest.approx(0.7)}


def test_top_lists_the_best_first_and_all_lists_all() -> None:
    assert [entry["label"] for entry in chosen(top=2)["labels"]] == ["b", "c"]
    assert [entry["label"] for entry in chosen(top="all")["labels"]] == ["b", "c", "a"]
    assert [entry["label"] for entry in chosen(top=9)["labels"]] == ["b", "c", "a"]
    assert chosen(top=1)["labels"] == [{"label": "b", "score": pytest.approx(0.7)}]


def test_any_of_many_lists_what_reaches_the_threshold() -> None:
    assert [entry["label"] for entry in chosen(several=True)["labels"]] == ["b", "c"]
    below = chosen(several=True, threshold=0.9)
    assert below == {"label": None, "score": pytest.approx(0.7), "labels": []}
    at = chosen(np.array([0.5, 0.1, 0.1], dtype=np.float32), several=True, threshold=0.5)
    assert (at["label"], len(at["labels"])) == ("a", 1)


def test_top_counts_labels_below_the_threshold_too() -> None:
    found = chosen(several=True, threshold=0.9, top=2)
    assert found["label"] is None
    assert [entry["label"] for entry in found["labels"]] == ["b", "c"]


def test_equal_scores_keep_the_order_of_the_model() -> None:
    found = chosen(np.full(3, 0.5, dtype=np.float32), top="all")
    assert [entry["label"] for entry in found["labels"]] == ["a", "b", "c"]


@pytest.mark.parametrize("options", [{"threshold": 1.5}, {"threshold": -0.1}])
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Choice(["a"], **options)


@given(logits)
def test_softmax_adds_up_to_one_and_survives_any_logit(values: Any) -> None:
    shares = softmax(values)
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(softmax(values)[np.argsort(values)], np.sort(shares))


@given(st.floats(-1e4, 1e4, width=32))
def test_sigmoid_of_minus_x_is_one_minus_sigmoid_of_x(value: float) -> None:
    up, down = sigmoid(np.array([value, -value], dtype=np.float32))
    assert up + down == pytest.approx(1, abs=1e-6)
    assert (up > 0.5) == (value > 0) or abs(value) < 1e-6

"""The likeliest wrong labels: planted errors are found, and ranked by the score of the given label."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from bertcli.evaluation.suspects import doubts, doubts_of_label


def planted(seed: int) -> tuple[np.ndarray, np.ndarray, set[int]]:
    """Scores of a good model, and labels of which some were changed."""
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=300)
    logits = random.normal(0, 1, size=(300, 3))
    logits[np.arange(300), truth] += 5
    gold = truth.copy()
    wrong = random.choice(300, size=15, replace=False)
    gold[wrong] = (truth[wrong] + 1) % 3
    return softmax(logits, axis=1), gold, set(wrong.tolist())


def test_planted_errors_come_first() -> None:
    scores, gold, wrong = planted(5)
    found = doubts(scores, gold)
    assert {doubt.row for doubt in found[:10]} <= wrong
    assert len(wrong & {doubt.row for doubt in found}) >= 10  # of 15; some are too near another label


def test_planted_errors_of_a_label_that_may_hold_come_first() -> None:
    scores, gold, wrong = planted(6)
    changed = {row for row in wrong if (gold[row] == 1) != (scores[row].argmax() == 1)}
    found = doubts_of_label(scores[:, 1], gold == 1)
    assert {doubt.row for doubt in found[:5]} <= changed
    assert all(doubt.given == int(gold[doubt.row] == 1) for doubt in found)


@given(seed=st.integers(0, 1000), records=st.integers(1, 12))
def test_the_definition_of_the_confident_joint(seed: int, records: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(3), size=records)
    gold = random.integers(3, size=records)
    means = {j: scores[gold == j, j].mean() for j in set(gold.tolist())}
    expected = []
    for row in range(records):
        confident = [j for j in means if scores[row, j] >= means[j]]
        best = max(confident, key=lambda j: scores[row, j], default=gold[row])
        if best != gold[row]:
            expected.append((row, best))
    expected.sort(key=lambda item: scores[item[0], gold[item[0]]])
    assert [(doubt.row, doubt.likelier) for doubt in doubts(scores, gold)] == expected

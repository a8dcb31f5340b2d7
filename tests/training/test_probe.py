"""Linear heads: what they are fitted to, and what they are measured on."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from bertcli.training.dataset import SINGLE
from bertcli.training.probe import FOLDS, fit, folds_of

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=40)


@given(rows=ROWS)
def test_equal_texts_share_a_fold_and_classes_are_spread(rows: list[tuple[int, int]]) -> None:
    kind = {text: str(label) for text, label in rows}  # a class for each distinct text
    texts = [text for text, _ in rows]
    folds = folds_of(texts, [kind[text] for text in texts])
    by_text = dict(zip(texts, folds, strict=True))
    assert [by_text[text] for text in texts] == folds
    for label in set(kind.values()):
        sizes = [sum(by_text[t] == fold and kind[t] == label for t in by_text) for fold in range(FOLDS)]
        assert max(sizes) - min(sizes) <= 1


def test_a_head_is_the_logistic_regression_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 5, generator=generator)
    targets = (features[:, 0] + torch.randn(60, generator=generator) > 0).long()
    weights, bias = fit(features, targets, 2, SINGLE, 0.1)
    theirs = LogisticRegression(C=1 / (0.1 * 60 / 2), tol=1e-8).fit(features.numpy(), targets.numpy())
    # Two opposite rows of weights say what one row says, with half the penalty.
    found = (weights[1] - weights[0]).numpy()
    assert abs(found - theirs.coef_[0]).max() < 1e-2
    assert abs(float(bias[1] - bias[0]) - theirs.intercept_[0]) < 1e-2

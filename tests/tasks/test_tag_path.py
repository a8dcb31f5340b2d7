"""The likeliest tags of words together, against all there are."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.tasks.tag_path import best_path
from bertcli.training.objectives.tag import transition_scores

LABELS = ("O", "B-PER", "I-PER")


@settings(max_examples=60, deadline=None)
@given(words=st.integers(0, 5), seed=st.integers(0, 1000))
def test_no_other_tags_have_a_larger_sum(words: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_p, transitions = rng.normal(size=(words, 3)), rng.normal(size=(4, 3))

    def total(path: tuple[int, ...]) -> float:
        first = transitions[-1, path[0]] if path else 0.0
        tags = sum(log_p[word, tag] for word, tag in enumerate(path))
        return float(first + tags + sum(transitions[before, after] for before, after in pairwise(path)))

    found = best_path(log_p, transitions)
    assert len(found) == words
    assert np.isclose(total(tuple(found)), max(map(total, product(range(3), repeat=words))))


def test_tags_that_never_follow_each_other_score_low() -> None:
    scores = np.array(transition_scores([["O", "B-PER", "I-PER", "O"], ["B-PER", "O", "O"]], LABELS, 0.5))
    assert scores.shape == (4, 3)
    outside, begin, inside, start = scores
    assert inside[2] < outside[0]
    assert outside[2] < min(outside[0], outside[1])
    assert begin[2] > outside[2]
    assert start[2] < start[1]


def test_they_are_log_odds_to_chance() -> None:
    (a, b, start) = transition_scores([["A", "B"]] * 1000, ("A", "B"), 1.0)
    assert np.allclose(start, [np.log(2), np.log(0.1 / 1000.2 * 2)], atol=0.01)
    assert np.allclose(a[1], np.log(2), atol=0.01)
    assert np.allclose(b, 0.0, atol=0.01)  # nothing follows B: as by chance


def test_without_a_weight_there_are_none() -> None:
    assert transition_scores([["O"]], LABELS, 0.0) == ()

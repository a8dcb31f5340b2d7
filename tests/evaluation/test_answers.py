"""Answers measured by the definitions of SQuAD: cases worked out by hand from its two papers."""

from __future__ import annotations

import pytest

from bertcli.evaluation.answers import normalised, score_answer


@pytest.mark.parametrize(
    ("answer", "plain"),
    [
        ("The  Cat's whiskers!", "cats whiskers"),
        ("a theme", "theme"),
        ("An", ""),
        ("U.S.", "us"),
        ("19 %", "19"),
    ],
)
def test_case_punctuation_articles_and_blanks_do_not_count(answer: str, plain: str) -> None:
    assert normalised(answer) == plain


@pytest.mark.parametrize(
    ("answer", "gold", "equal", "f1"),
    [
        ("the park", ["Park."], 1.0, 1.0),
        ("in the park", ["park"], 0.0, 2 / 3),  # 2 words, 1 of them right
        ("park park", ["park"], 0.0, 2 / 3),  # a word counts as often as it is in both
        ("big park", ["lake", "the big green park"], 0.0, 4 / 5),  # the nearest gold answer counts
        ("park", [], 0.0, 0.0),
        (None, ["park"], 0.0, 0.0),
        (None, [], 1.0, 1.0),
        (None, ["the"], 1.0, 1.0),  # as no answer: nothing of it counts
    ],
)
def test_exact_match_and_f1(answer: str | None, gold: list[str], equal: float, f1: float) -> None:
    assert score_answer(answer, gold) == (equal, pytest.approx(f1))

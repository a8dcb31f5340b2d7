"""Texts by their words have the BM25 scores of the formula, and rankings are joined as the literature has it."""

from __future__ import annotations

import math
import re
from contextlib import closing
from pathlib import Path

import pytest

from bertcli.search.words import WordIndex, fused_scores

TEXTS = [
    "The cat sat on the mat",
    "A cat, a CAT and a dog: three animals",
    "Error E1034 after the login",
    "Élan vital",
    "the the the",
]


def bm25(query: str, text: str, *, k1: float = 1.2, b: float = 0.75) -> float:
    """The score by the formula, with Lucene's idf."""
    texts = [re.findall(r"\w+", one.lower().replace("é", "e")) for one in TEXTS]
    words = re.findall(r"\w+", text.lower().replace("é", "e"))
    mean = sum(map(len, texts)) / len(texts)
    score = 0.0
    for word in query.lower().split():
        count, having = words.count(word), sum(word in one for one in texts)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        score += idf * count * (k1 + 1) / (count + k1 * (1 - b + b * len(words) / mean))
    return score


@pytest.mark.parametrize("query", ["cat", "the cat", "e1034 login cat", "elan", "the the cat"])
def test_scores_are_those_of_the_formula(query: str) -> None:
    with closing(WordIndex()) as words:
        for number, text in enumerate(TEXTS):
            words.add(number, text)
        words.commit()
        found = words.nearest(query, 10)
    expected = {number: bm25(query, text) for number, text in enumerate(TEXTS)}
    assert {match.number: match.score for match in found} == {
        number: pytest.approx(score, rel=1e-5) for number, score in expected.items() if score
    }
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)


@pytest.mark.parametrize("query", ["", "?!", "nothing like it", '"AND (', "-cat OR"])
def test_a_query_is_words_and_no_syntax(query: str) -> None:
    with closing(WordIndex()) as words:
        assert words.nearest(query, 3) == []
        words.add(0, "dog")
        words.commit()
        assert words.nearest(query, 3) == []


def test_texts_are_removed_and_found_again_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    words = WordIndex(str(tmp_path / "words"))
    for number, text in enumerate(TEXTS):
        words.add(number, text)
    words.commit()
    words.remove([1])
    words.remove_from(3)
    words.add(3, "another cat")
    words.commit()
    again = WordIndex(str(tmp_path / "words"))
    assert {match.number for match in again.nearest("cat vital", 10)} == {0, 3}
    assert [match.number for match in again.nearest("cat the", 1)] == [0]


def test_rankings_are_joined_by_their_ranks() -> None:
    assert fused_scores([[7, 3], [3, 9]]) == {
        3: pytest.approx(1 / 62 + 1 / 61),
        7: pytest.approx(1 / 61),
        9: pytest.approx(1 / 62),
    }
    assert list(fused_scores([[5, 2], [2, 5]])) == [2, 5]
    assert fused_scores([[], []]) == {}

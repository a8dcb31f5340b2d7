"""Which tokens make a word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bertcli.tasks.word_alignment import Word, found_words, given_words
from tests.checkpoints import TEXTS
from tests.tasks.reference import opened

FAMILIES = ("bert", "roberta", "xlm-roberta", "albert", "modernbert", "deberta-v2")
Make = Callable[..., Path]


def said(text: str, words: Sequence[Word]) -> list[str]:
    return [text[word.start : word.end] for word in words]


@pytest.mark.parametrize("family", FAMILIES)
def test_words_begin_where_wordpiece_begins_them_unless_a_token_goes_over(
    checkpoints: Make, family: str
) -> None:
    _, native = opened(checkpoints("bert"))
    _, tokenizer = opened(checkpoints(family))
    for text in (*TEXTS, 'He said: "(Paris), don\'t!"\nU.S.-based  firms', "Mu\u0308nchen-Süd, cafe\u0301."):
        tokens = tokenizer.encode(text)
        expected = {word.start for word in found_words(text, native.encode(text), native)}
        begun = {word.start for word in found_words(text, tokens, tokenizer)}
        inside = {place for start, end in tokens.offsets for place in range(start + 1, end)}
        assert begun == expected - inside


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "modernbert"])
def test_scripts_without_blanks_have_no_endless_words(checkpoints: Make, family: str) -> None:
    _, tokenizer = opened(checkpoints(family))
    text = "x東京都に行くกรุงเทพx"
    words = found_words(text, tokenizer.encode(text), tokenizer)
    assert words[0] == Word(words[0].first, words[0].stop, 0, 1)
    assert "".join(said(text, words)) == text


def test_a_mark_of_its_own_belongs_to_the_word_behind_it(checkpoints: Make) -> None:
    _, tokenizer = opened(checkpoints("xlm-roberta"))
    text = "a  zq"
    tokens = tokenizer.encode(text)
    assert [tokenizer.piece(token) for token in tokens.ids] == ["▁", "a", "▁", "z", "q"]
    assert list(found_words(text, tokens, tokenizer)) == [Word(0, 2, 0, 1), Word(2, 5, 3, 5)]


def test_several_tokens_of_one_character_are_not_torn_apart(checkpoints: Make) -> None:
    _, tokenizer = opened(checkpoints("roberta"))
    text = "a \U0001f600\U0001f600"
    words = found_words(text, tokenizer.encode(text), tokenizer)
    assert said(text, words) == ["a", "\U0001f600", "\U0001f600"]


@settings(max_examples=200)
@example(text="▁ ▁a", family="xlm-roberta")
@example(text=" \r0", family="roberta")
@given(
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.text("aé́東ก\u200d '.-\n"),
    family=st.sampled_from(FAMILIES),
)
def test_words_hold_every_token_with_something_to_see(checkpoints: Make, text: str, family: str) -> None:
    _, tokenizer = opened(checkpoints(family))
    tokens = tokenizer.encode(text)
    words = found_words(text, tokens, tokenizer)
    held = {place for word in words for place in range(word.first, word.stop)}
    assert {place for place, (start, end) in enumerate(tokens.offsets) if text[start:end].strip()} <= held
    assert [words[place] for place in range(len(words))] == list(words) == words[:]
    for word, following in pairwise(words):
        assert word.first < word.stop <= following.first
        assert word.start < word.end
        assert word.end <= following.start or tokenizer.marks_insides


@settings(max_examples=100)
@given(
    words=st.lists(st.text("aé東\u0301.' \u200b", max_size=6), max_size=8),
    family=st.sampled_from(FAMILIES),
)
def test_given_words_are_kept(checkpoints: Make, words: list[str], family: str) -> None:
    _, tokenizer = opened(checkpoints(family))
    text, places = " ".join(words), []
    for word in words:
        start = places[-1][1] + 1 if places else 0
        places.append((start, start + len(word)))
    tokens = tokenizer.encode(text)
    found = given_words(text, tokens, tokenizer, places)
    assert [(word.start, word.end) for word in found] == [
        place for place in places if any(word.start == place[0] and word.end == place[1] for word in found)
    ]
    for word in found:
        assert word.first < word.stop
        for start, end in tokens.offsets[word.first : word.stop]:
            assert not text[start:end].strip() or word.start <= start < word.end

"""The shapes of words, and the token types that tell them to an encoder."""

from __future__ import annotations

import pytest

from bertcli.models.heads import WORD_SHAPES
from bertcli.tasks.word_alignment import Word
from bertcli.tasks.word_shapes import (
    CAPITALISED,
    DIGITS,
    LETTERS_AND_DIGITS,
    LOWER,
    MIXED,
    NO_LETTER,
    ONE_CAPITAL,
    UPPER,
    shape_of,
    token_types,
    word_shapes,
)


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("rome", LOWER),
        ("o'clock", LOWER),
        ("Rome", CAPITALISED),
        ("Jean-pierre", CAPITALISED),
        ("Émile", CAPITALISED),
        ("NATO", UPPER),
        ("U.S.", UPPER),
        ("I", ONE_CAPITAL),
        ("McDonald", MIXED),
        ("iPhone", MIXED),
        ("1969", DIGITS),
        ("9:15", DIGITS),
        ("747s", LETTERS_AND_DIGITS),
        ("--", NO_LETTER),
        ("", NO_LETTER),
    ],
)
def test_the_shape_of_a_word(word: str, shape: int) -> None:
    assert shape_of(word) == shape


def test_a_sentence_begins_with_shapes_of_its_own() -> None:
    assert word_shapes(["Ann", "runs", ".", "She", "rests"]).tolist() == [
        CAPITALISED + 8,
        LOWER,
        NO_LETTER,
        CAPITALISED + 8,
        LOWER,
    ]


def test_a_text_without_capitals_or_without_lower_case_has_shapes_of_its_own() -> None:
    assert word_shapes(["ann", "runs"]).tolist() == [LOWER + 8 + 16, LOWER + 16]
    assert word_shapes(["ANN", "RUNS", "9"]).tolist() == [UPPER + 8 + 32, UPPER + 32, DIGITS + 32]
    assert word_shapes([]).shape == (0,)
    texts = ("ann", "ANN", "Ann", "aNn", "9", "a9", ".", "A")
    assert max(word_shapes([word])[0] for word in texts) < WORD_SHAPES


def test_all_tokens_of_a_word_have_its_type() -> None:
    words = [Word(1, 3, 0, 3), Word(3, 4, 4, 8)]  # token 0 and token 4 belong to no word
    types = token_types("Ann runs", words, 5, first=2)
    assert types.tolist() == [0, 2 + CAPITALISED + 8, 2 + CAPITALISED + 8, 2 + LOWER, 0]

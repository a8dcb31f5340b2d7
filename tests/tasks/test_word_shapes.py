"""The shapes of words, and that a tag head with tables of them answers as it was trained."""

from __future__ import annotations

import numpy as np
import pytest

from bertcli.tasks.word_shapes import (
    CAPITALISED,
    DIGITS,
    LETTERS_AND_DIGITS,
    LOWER,
    MIXED,
    NO_LETTER,
    NO_WORD,
    ONE_CAPITAL,
    TABLES,
    UPPER,
    shape_features,
    shape_logits,
    shape_of,
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


def test_a_row_says_where_a_sentence_begins_and_what_is_beside_the_word() -> None:
    assert shape_features(["Ann", "runs", ".", "She", "rests"]).tolist() == [
        [CAPITALISED + 8, NO_WORD, LOWER],
        [LOWER, CAPITALISED, NO_LETTER],
        [NO_LETTER, LOWER, CAPITALISED],
        [CAPITALISED + 8, NO_LETTER, LOWER],
        [LOWER, CAPITALISED, NO_WORD],
    ]


def test_a_text_without_capitals_or_without_lower_case_has_rows_of_its_own() -> None:
    assert shape_features(["ann", "runs"])[:, 0].tolist() == [LOWER + 8 + 16, LOWER + 16]
    assert shape_features(["ANN", "RUNS", "9"])[:, 0].tolist() == [UPPER + 8 + 32, UPPER + 32, DIGITS + 32]
    assert shape_features([]).shape == (0, 3)
    rows = max(shape_features([word])[0, 0] for word in ("ann", "ANN", "Ann", "aNn", "9", "a9", ".", "A"))
    assert rows < TABLES["own"]


def test_the_rows_of_the_three_tables_are_added() -> None:
    rng = np.random.default_rng(3)
    tables = {name: rng.normal(size=(rows, 2)).astype(np.float32) for name, rows in TABLES.items()}
    own, previous, following = tables.values()
    expected = [
        own[CAPITALISED + 8] + previous[NO_WORD] + following[LOWER],
        own[LOWER] + previous[CAPITALISED] + following[NO_WORD],
    ]
    assert shape_logits(["Ann", "runs"], tables) == pytest.approx(np.array(expected))

"""The shapes of words: capitals and digits, which an uncased encoder does not see.

A head may have tables with a row of logits for each shape, which are added to its own: for the shape of a word, and
for those of the words before and behind it. At the beginning of a sentence, in a text without capitals and in one that
is all capitals a shape means less, so there it is another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertcli.models.heads import SHAPE_TABLES

if TYPE_CHECKING:
    from bertcli.engines import Array

DIGITS, NO_LETTER, LETTERS_AND_DIGITS, LOWER, UPPER, ONE_CAPITAL, CAPITALISED, MIXED = range(8)
NO_WORD = 8  # before the first and behind the last
SENTENCE_ENDS = frozenset(".!?")

TABLES: Mapping[str, int] = dict(zip(SHAPE_TABLES, (48, 9, 9), strict=True))
"""The number of rows of each table. A row of `own` is the shape, plus 8 where a sentence begins, plus 16 in a text
without capitals or 32 in one without lower case."""


def shape_features(words: Sequence[str]) -> NDArray[np.int64]:
    """The row of each table for each word of a text: (words, 3), in the order of TABLES."""
    shapes = np.array([shape_of(word) for word in words], np.int64)
    features = np.empty((len(words), len(TABLES)), np.int64)
    begins = [number == 0 or words[number - 1] in SENTENCE_ENDS for number in range(len(words))]
    features[:, 0] = shapes + 8 * np.array(begins, np.int64) + 16 * _case_of_text(shapes)
    features[:, 1] = np.append(NO_WORD, shapes[:-1])[: len(words)]
    features[:, 2] = np.append(shapes[1:], NO_WORD)[: len(words)]
    return features


def shape_of(word: str) -> int:
    """The shape of a word by itself."""
    letters = [character for character in word if character.isalpha()]
    if not letters:
        return DIGITS if any(character.isdigit() for character in word) else NO_LETTER
    if any(character.isdigit() for character in word):
        return LETTERS_AND_DIGITS
    if all(letter.islower() for letter in letters):
        return LOWER
    if all(letter.isupper() for letter in letters):
        return UPPER if len(letters) > 1 else ONE_CAPITAL
    rest_is_lower = all(letter.islower() for letter in letters[1:])
    return CAPITALISED if letters[0].isupper() and rest_is_lower else MIXED


def shape_logits(words: Sequence[str], tables: Mapping[str, Array]) -> Array:
    """What the tables (rows, labels) add to the logits of each word: (words, labels)."""
    features = shape_features(words)
    parts = [tables[name][features[:, column]] for column, name in enumerate(TABLES)]
    logits: Array = np.sum(parts, axis=0)
    return logits


def _case_of_text(shapes: NDArray[np.int64]) -> int:
    """1 for a text without capitals, 2 for one without lower case, else 0."""
    if not np.isin(shapes, (UPPER, ONE_CAPITAL, CAPITALISED, MIXED)).any():
        return 1
    return 0 if (shapes == LOWER).any() else 2

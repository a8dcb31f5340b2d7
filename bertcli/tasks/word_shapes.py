"""The shapes of words: capitals and digits, which an uncased encoder does not see.

The encoder of a head may have token types for them, behind its own: all tokens of a word have the type of its shape. At
the beginning of a sentence, in a text without capitals and in one that is all capitals a shape means less, so there it
is another one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bertcli.tasks.word_alignment import Word

DIGITS, NO_LETTER, LETTERS_AND_DIGITS, LOWER, UPPER, ONE_CAPITAL, CAPITALISED, MIXED = range(8)
SENTENCE_ENDS = frozenset(".!?")


def token_types(text: str, words: Sequence[Word], tokens: int, first: int) -> array[int]:
    """The type of each of the `tokens` of a text: `first` plus the shape of its word, 0 outside words."""
    types = array("i", bytes(4 * tokens))
    shapes = word_shapes(text[word.start : word.end] for word in words)
    for word, shape in zip(words, shapes.tolist(), strict=True):
        for token in range(word.first, word.stop):
            types[token] = first + shape
    return types


def word_shapes(words: Iterable[str]) -> NDArray[np.int64]:
    """The shape of each word of a text, from 0 to before WORD_SHAPES: (words,).

    It is that of the word by itself, plus 8 where a sentence begins, plus 16 in a text without capitals or 32 in one
    without lower case.
    """
    shapes, begins = bytearray(), bytearray()
    before = "."
    for word in words:
        shapes.append(shape_of(word))
        begins.append(before in SENTENCE_ENDS)
        before = word
    alone = np.frombuffer(shapes, np.uint8).astype(np.int64)
    return alone + 8 * np.frombuffer(begins, np.uint8) + 16 * _case_of_text(alone)


@lru_cache(maxsize=1 << 16)
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


def _case_of_text(shapes: NDArray[np.int64]) -> int:
    """1 for a text without capitals, 2 for one without lower case, else 0."""
    if not np.isin(shapes, (UPPER, ONE_CAPITAL, CAPITALISED, MIXED)).any():
        return 1
    return 0 if (shapes == LOWER).any() else 2

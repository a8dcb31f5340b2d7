"""Which tokens make a word, and its characters.

Where the vocabulary marks the pieces inside a word (WordPiece: `play ##ing`), a word is a piece without the
mark and those with it that follow; punctuation marks are words of their own. Byte-level and SentencePiece
vocabularies mark only where a blank was, so that a comma would belong to the word before it and a Chinese
sentence would be one word. There the characters decide, as nearly as WordPiece would: a run of letters and
digits is a word, every other character one of its own; in scripts that are written without blanks, each token
is. A word that the input has split itself is what the input says.

A word has all characters of its tokens, combining marks included that the tokenizer took off, and no blanks
around.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, overload

from bertcli.models.tokenizer import WORD_STARTS

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens

# Thai, Lao, Burmese, Khmer, kana, Chinese
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
ATTACHED = ("Mn", "Mc", "Me", "Cf")  # categories of combining marks, joiners, soft hyphens


class Word(NamedTuple):
    """Tokens from `first` to before `stop`, and the characters from `start` to before `end`."""

    first: int
    stop: int
    start: int
    end: int


class Words(Sequence[Word]):
    """Words in thirty-two bytes each, a seventh of what tuples take: a huge text has millions."""

    __slots__ = ("_columns",)

    def __init__(self, words: Iterable[Word] = ()) -> None:
        self._columns = tuple(array("q") for _ in Word._fields)
        for word in words:
            self.append(word)

    def append(self, word: Word) -> None:
        firsts, stops, starts, ends = self._columns
        firsts.append(word.first)
        stops.append(word.stop)
        starts.append(word.start)
        ends.append(word.end)

    def widen(self, stop: int, end: int) -> None:
        """Let the last word reach as far as this token and character."""
        _, stops, _, ends = self._columns
        stops[-1], ends[-1] = stop, end

    @property
    def firsts(self) -> Sequence[int]:
        """The first token of each."""
        return self._columns[0]

    @property
    def starts(self) -> Sequence[int]:
        """The first character of each."""
        return self._columns[2]

    @property
    def ends(self) -> Sequence[int]:
        """The character behind the last of each."""
        return self._columns[3]

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[Word]:
        return map(Word._make, zip(*self._columns, strict=True))

    @overload
    def __getitem__(self, place: int) -> Word: ...
    @overload
    def __getitem__(self, place: slice) -> list[Word]: ...
    def __getitem__(self, place: int | slice) -> Word | list[Word]:
        if isinstance(place, int):
            return Word(*(column[place] for column in self._columns))
        return [*map(Word._make, zip(*(column[place] for column in self._columns), strict=True))]


def within(words: Iterable[Word], start: int, stop: int) -> Iterator[Word]:
    """The words that have tokens from `start` to before `stop`, their tokens counted from `start` on."""
    for word in words:
        first, last = max(word.first, start), min(word.stop, stop)
        if first < last:
            yield word._replace(first=first - start, stop=last - start)


def found_words(text: str, tokens: Tokens, tokenizer: Tokenizer) -> Words:
    """The words of a text, by what its tokens and characters say."""
    words = Words()
    marked = tokenizer.marks_insides
    started = ended = -1
    for place, start, end in _visible(text, tokens, tokenizer):
        if marked:
            begins = tokenizer.starts_word(tokens.ids[place])
        else:  # several tokens may belong to one character
            begins = start > started and start >= ended and _begins_word(text, start)
        if begins or not words:
            words.append(Word(place, place + 1, start, end))
        else:
            words.widen(place + 1, end)
        started, ended = start, end
    return words


def given_words(text: str, tokens: Tokens, tokenizer: Tokenizer, places: Sequence[tuple[int, int]]) -> Words:
    """The words at `places`, (start, end) in characters; those without a token are left out."""
    words = Words()
    number = 0
    for place, start, _ in _visible(text, tokens, tokenizer):
        while number < len(places) and places[number][1] <= start:
            number += 1
        if number == len(places):
            break
        begin, end = places[number]
        if words and words[-1].start == begin:
            words.widen(place + 1, end)
        elif begin <= start:
            words.append(Word(place, place + 1, begin, end))
    return words


def places_of(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The places of words that are joined by blanks: (start, end) in characters."""
    start = 0
    for word in words:
        yield start, start + len(word)
        start += len(word) + 1


def each_token(text: str, tokens: Tokens) -> Words:
    """Every token by itself."""
    offsets = tokens.offsets
    return Words(
        Word(place, place + 1, start, end)
        for place, ((start, _), end) in enumerate(zip(offsets, _ends(text, offsets), strict=True))
    )


def _visible(text: str, tokens: Tokens, tokenizer: Tokenizer) -> Iterator[tuple[int, int, int]]:
    """(place, start, end) of each token of more than blanks. A word's mark that is a token of
    its own (`▁`) is where the next token begins."""
    ids, offsets, marked = tokens.ids, tokens.offsets, tokenizer.marks_insides
    for place, ((start, _), end) in enumerate(zip(offsets, _ends(text, offsets), strict=True)):
        said = text[start:end]
        if not marked and (piece := tokenizer.piece(ids[place])) in WORD_STARTS and piece != said:
            behind = place + 1
            if behind == len(ids) or tokenizer.starts_word(ids[behind]) or not _says(text, offsets[behind]):
                continue
            start = end = offsets[behind][0]
        elif not said.strip():
            continue
        yield place, start, end


def _says(text: str, place: tuple[int, int]) -> bool:
    return bool(text[slice(*place)].strip())


def _ends(text: str, offsets: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Where each token ends, with the combining marks after it that belong to no token."""
    if text.isascii():
        yield from (end for _, end in offsets)
        return
    limits = chain((start for start, _ in islice(offsets, 1, None)), [len(text)])
    for (_, end), limit in zip(offsets, limits, strict=False):
        while end < limit and unicodedata.category(text[end])[0] == "M":
            end += 1
        yield end


def _begins_word(text: str, start: int) -> bool:
    """Whether the character at `start` begins a word, going by it and by what is before it."""
    if start == 0 or text[start - 1].isspace():
        return True
    if unicodedata.category(text[start]) in ATTACHED:
        return False
    before = start - 1
    while before > 0 and unicodedata.category(text[before]) in ATTACHED:
        before -= 1
    if UNSPACED.match(text, start):
        return True
    return not (_is_letter(text[before]) and _is_letter(text[start])) or bool(UNSPACED.match(text, before))


def _is_letter(character: str) -> bool:
    return character.isalnum()

"""What a tokenizer gives: the tokens of a text, and the frame of special tokens that the model wants around them."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import overload

import tokenizers

from bertcli.models.lazy_tokenizer import TranslatedEncoding

Encoding = tokenizers.Encoding | TranslatedEncoding
Place = tuple[int, int]
"""(start, stop) of a token in characters of the text."""


class Tokens:
    """The tokens of one text: `ids`, and `offsets` (start, stop) of each in characters of the text, white
    space before a word not counted. Of a long text both are kept in few bytes, as `Places` for one."""

    __slots__ = ("_places", "_text", "ids")

    def __init__(self, ids: Sequence[int], places: Encoding | Places, text: str) -> None:
        self.ids = ids
        self._places = places
        self._text = text

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def offsets(self) -> Sequence[Place]:
        if isinstance(self._places, Places):
            return self._places
        return [_trimmed(self._text, start, stop) for start, stop in self._places.offsets]


class Places(Sequence[Place]):
    """The offsets of a long text's tokens: made when they are asked for, since a pair of Python's numbers
    takes as much as sixteen pairs here."""

    __slots__ = ("_starts", "_stops", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        kind = "i" if len(text) < 1 << 31 else "q"
        self._starts, self._stops = array(kind), array(kind)

    def add(self, offsets: Sequence[Place], shift: int) -> None:
        """The offsets of a piece's tokens, in characters from `shift` on."""
        self._starts.extend([start + shift for start, _ in offsets])
        self._stops.extend([stop + shift for _, stop in offsets])

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Place]:
        return (_trimmed(self._text, *place) for place in zip(self._starts, self._stops, strict=True))

    @overload
    def __getitem__(self, place: int) -> Place: ...
    @overload
    def __getitem__(self, place: slice) -> list[Place]: ...
    def __getitem__(self, place: int | slice) -> Place | list[Place]:
        if isinstance(place, int):
            return _trimmed(self._text, self._starts[place], self._stops[place])
        cut = zip(self._starts[place], self._stops[place], strict=True)
        return [_trimmed(self._text, *each) for each in cut]


def _trimmed(text: str, start: int, stop: int) -> Place:
    if start < stop and not text[start].isspace():
        return start, stop
    blanks = sum(1 for _ in takewhile(str.isspace, text[start:stop]))
    return (start + blanks, stop) if blanks < stop - start else (start, stop)


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens around one text or two: `before` a, `between` a and b, `after` the last.

    `types` are the token types of (before, a, between, b, after), None where the model has no token types or
    its tokenizer does not give them.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]] | None

    def __len__(self) -> int:
        """The number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)

    def build(
        self, a: Sequence[int], b: Sequence[int] | None = None
    ) -> tuple[list[int], list[int] | None, int, int | None]:
        """(ids, token types, position of the first token of a, position of the first of b).

        `b` goes with a frame of pairs and with no other.
        """
        second = b or ()
        ids = [*self.before, *a, *self.between, *second, *self.after]
        start = len(self.before)
        start_of_b = None if b is None else start + len(a) + len(self.between)
        if self.types is None:
            return ids, None, start, start_of_b
        before, of_a, between, of_b, after = self.types
        types = [*before, *[of_a] * len(a), *between, *[of_b] * len(second), *after]
        return ids, types, start, start_of_b

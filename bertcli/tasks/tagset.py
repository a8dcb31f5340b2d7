"""What a head's tags mean: how a row of them makes spans.

    BIO      B-PER I-PER O B-LOC      a span begins at B, and goes on with I of the same type
    BIOES    B-PER E-PER O S-LOC      E is its end, S a span of one word (L and U in BILOU)
    IO       PER PER O LOC            neighbours of one type are one span
    words    PROPN VERB PUNCT         a tag for every word and no O, as parts of speech: a span a word

I or E where nothing of the type is open begins a span, as in conlleval. A tag without a prefix among tags
with them is read as I. This is how transformers groups BIO and IO; what it does not know are BIOES and words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"
PREFIXED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
BEGINS, ENDS = "BSU", "ESLU"


class Span(NamedTuple):
    """Units (words or tokens) from `first` to before `stop`."""

    first: int
    stop: int
    label: str


class Tagset:
    """The tags of a head, in the order of its outputs. `per_word`: every word has a tag of its own."""

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tuple(tags)
        prefixed = any(tag.startswith(("B-", "I-")) for tag in tags)
        self.per_word = not prefixed and OUTSIDE not in tags
        self._parts = [self._part(tag, prefixed) for tag in tags]

    def _part(self, tag: str, prefixed: bool) -> tuple[str, str]:
        """(prefix, type) of a tag."""
        found = PREFIXED.fullmatch(tag) if prefixed else None
        if found is not None:
            return found[1], found[2]
        return "S" if self.per_word else "I", tag

    def spans(self, outputs: Iterable[int]) -> list[Span]:
        """The spans in a row of tags, given by their numbers."""
        found: list[Span] = []
        open_type = ""  # of the last span, as long as it may go on
        for place, output in enumerate(outputs):
            if self.tags[output] == OUTSIDE:
                open_type = ""
                continue
            prefix, label = self._parts[output]
            if label != open_type or prefix in BEGINS:
                found.append(Span(place, place + 1, label))
            else:
                found[-1] = Span(found[-1].first, place + 1, label)
            open_type = "" if prefix in ENDS else label
        return found

    def spelled(self, label: str, *, begins: bool) -> str:
        """The tag of a word in a span, in BIO; the label itself where every word has one."""
        return label if self.per_word else f"{'B' if begins else 'I'}-{label}"

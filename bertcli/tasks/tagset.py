"""What a head's tags mean: how a row of them makes spans.

    BIO      B-PER I-PER O B-LOC      a span begins at B, and continues with I of the same type
    BIOES    B-PER E-PER O S-LOC      E is its end, S a span of one word (L and U in BILOU; M is I in BMES)
    IO       PER PER O LOC            neighbours of one type are one span
    words    PROPN VERB PUNCT         a tag for every word and no O, as parts of speech: a span a word

Prefixes may also be suffixes (`PER-B`), be alone (`B`, `I`, `O`: the type is then `_`), be joined by an underscore
(`B_PER`) or be lower case (`b-per`, `o`). Which of these a tag is follows from all tags of the set.

I or E where nothing of the type is open begins a span, as in conlleval. A tag without a prefix among tags
with them is read as I. This is how transformers groups BIO and IO, and how seqeval counts all but IO and words
(its `suffix=True` for suffixes).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

NO_TYPE = "_"
PREFIXED = re.compile(r"([BIESLUM])[-_](.+)", re.DOTALL | re.IGNORECASE)
SUFFIXED = re.compile(r"(.+)[-_]([BIESLUM])", re.DOTALL | re.IGNORECASE)
ALONE = re.compile(r"([BIESLUM])", re.IGNORECASE)
OTHER_PREFIX = re.compile(r"(\w)[-_](.+)", re.DOTALL)
JOINED = re.compile(r"([^-_]+)[-_](.+)", re.DOTALL)
BEGINS, ENDS = "BSU", "ESLU"
OUTSIDE = "O"


def is_outside(tag: str) -> bool:
    """Whether a tag says that a word is in no span."""
    return tag in ("O", "o")


class TagSpan(NamedTuple):
    """Units (words or tokens) from `first` to before `stop`."""

    first: int
    stop: int
    label: str


class Tagset:
    """The tags of a head, in the order of its outputs. `per_word`: every word has a tag of its own. `doubt` says
    what may be a scheme that is not known, None where there is nothing to doubt."""

    def __init__(self, tags: Sequence[str]) -> None:
        self.tags = tuple(tags)
        typed = [tag for tag in tags if not is_outside(tag)]
        self._pattern = _pattern_of(typed, outside=len(typed) < len(tags))
        self.per_word = self._pattern is None and len(typed) == len(tags)
        self.doubt: str | None = _doubt(typed, self._pattern, per_word=self.per_word)
        self._types = {found[2] for tag in typed if (found := PREFIXED.fullmatch(tag))}
        self._parts = [self.parts(tag) for tag in tags]

    def parts(self, tag: str) -> tuple[str, str]:
        """(prefix, type) of a tag, as this set spells its tags; the type of O is O."""
        if is_outside(tag):
            return OUTSIDE, OUTSIDE
        found = None if self._pattern is None else self._pattern.fullmatch(tag)
        if found is None:
            other = OTHER_PREFIX.fullmatch(tag) if self._pattern is PREFIXED else None
            if other is not None and other[2] in self._types:
                return "I", other[2]
            return "S" if self.per_word else "I", tag
        if self._pattern is ALONE:
            prefix, label = found[1], NO_TYPE
        elif self._pattern is SUFFIXED:
            label, prefix = found[1], found[2]
        else:
            prefix, label = found[1], found[2]
        return prefix.upper().replace("M", "I"), label

    def spans(self, outputs: Iterable[int]) -> list[TagSpan]:
        """The spans in a row of tags, given by their numbers."""
        found: list[TagSpan] = []
        open_type = ""  # of the last span, as long as it may go on
        for place, output in enumerate(outputs):
            if is_outside(self.tags[output]):
                open_type = ""
                continue
            prefix, label = self._parts[output]
            if label != open_type or prefix in BEGINS:
                found.append(TagSpan(place, place + 1, label))
            else:
                found[-1] = TagSpan(found[-1].first, place + 1, label)
            open_type = "" if prefix in ENDS else label
        return found

    def spelled(self, label: str, *, begins: bool) -> str:
        """The tag of a word in a span, in BIO; the label itself where every word has one."""
        return label if self.per_word else f"{'B' if begins else 'I'}-{label}"


def _pattern_of(typed: Sequence[str], *, outside: bool) -> re.Pattern[str] | None:
    """How the tags that are not O hold a prefix, None where they hold none. `outside`: there is an O."""
    if any(tag[:2].upper() in ("B-", "I-", "B_", "I_") and len(tag) > 2 for tag in typed):
        return PREFIXED
    for pattern, group in ((SUFFIXED, 2), (ALONE, 1)):
        found = [pattern.fullmatch(tag) for tag in typed]
        prefixes = {match[group].upper() for match in found if match}
        if found and all(found) and prefixes & {"B", "I"} and (outside or len(prefixes) > 1):
            return pattern
    return None


def _doubt(typed: Sequence[str], pattern: re.Pattern[str] | None, *, per_word: bool) -> str | None:
    """What a person should know of tags that may mean something else than they are read as."""
    if pattern is PREFIXED:
        types = {found[2] for tag in typed if (found := PREFIXED.fullmatch(tag))}
        odd = [
            tag
            for tag in typed
            if not PREFIXED.fullmatch(tag)
            and (other := OTHER_PREFIX.fullmatch(tag)) is not None
            and other[2] in types
        ]
        return f"the tag {odd[0]} is of no known scheme (BIO, BIOES, BILOU): it is read as I" if odd else None
    if pattern is not None or per_word:
        return None
    heads: dict[str, set[str]] = {}
    for tag in typed:
        if (joined := JOINED.fullmatch(tag)) is not None:
            heads.setdefault(joined[2], set()).add(joined[1])
    same = {frozenset(found) for found in heads.values()}
    if len(same) == 1 and len(only := next(iter(same))) > 1 and len(only) * len(heads) == len(typed):
        listed = ", ".join(sorted(only))
        return (
            f"the tags may be of a scheme that is not known ({listed} before each type): each tag is read as a"
            " type of its own"
        )
    return None

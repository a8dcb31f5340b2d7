"""Where a long text may be cut so that its pieces have the tokens of the whole.

`tokenizers` takes some three hundred bytes for each byte of a text while it works on it, so that long texts
are handed to it piece by piece. A split point is a place where that changes no token:

    no added token reaches across it       none of them holds the two characters beside a split point
    the normalizer minds no neighbours     those of `_LOCAL` look at a character and its combining marks; what
                                           happens to the characters at a split point is checked
    the pre-tokenizer cuts there anyway    as described below for each kind

The model then sees the same words. What a tokenizer does at the beginning of a text (a blank put before it,
or taken away) is kept from a piece by one character of the piece before, whose tokens are dropped.

Nothing is said of tokenizers that are not known well enough, and their texts stay whole: normalizers and
pre-tokenizers of other kinds, or those that make one word of a whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Part = Mapping[str, Any]

# SplitPoints as patterns of no width. Where a pre-tokenizer asks for the category of a character, those beside the
# split point are ones that every version of Unicode knows.
_BLANK = r"(?<=[^\W_])(?= [^\W_])"
_LINE_END = r"(?<=[^\W_])(?=\n[^\W_])"
_WITHIN_BLANKS = r"(?<=[ \n])(?=[ \n])"
_LETTERS = r"A-Za-z0-9\u3042-\u3093\u30a2-\u30f3\u4e00-\u9fa5"
_MARK = rf"(?<=[{_LETTERS}])(?=[,.;:!?/=&\u3001\u3002\uff0c][{_LETTERS}])"
_WITHIN_MARKS = r"(?<=[!-/:-@\[-`{-~])(?=[!-/:-@\[-`{-~])"
_IDEOGRAPHS = r"(?<=[\u4e00-\u9fa5])(?=[\u4e00-\u9fa5])"  # BERT's normalizer puts blanks around each

# What each kind of pre-tokenizer cuts at. BERT's makes a word of each punctuation mark; the byte-level one
# keeps a blank with the word behind it, and so does Metaspace, which knows no other white space.
_KINDS: Mapping[str, tuple[str, ...]] = {
    "BertPreTokenizer": (_BLANK, _LINE_END, _WITHIN_BLANKS, _MARK, _WITHIN_MARKS, _IDEOGRAPHS),
    "Whitespace": (_BLANK, _LINE_END, _WITHIN_BLANKS, _MARK, _IDEOGRAPHS),
    "WhitespaceSplit": (_BLANK, _LINE_END, _WITHIN_BLANKS, _IDEOGRAPHS),
    "ByteLevel": (_BLANK, _LINE_END, _MARK),
    "Metaspace": (_BLANK,),
}
_LOCAL = ("BertNormalizer", "Lowercase", "StripAccents", "NFC", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled")
_OF_BLANKS = (" {2,}", r"\s{2,}", r"\s+", r"\s{2,}|[\n\r\t]")  # patterns that find nothing but white space


class SplitPoints:
    """The split points in texts for one tokenizer. `definition` is its tokenizer.json, `normalizer` the one that was
    made of it, `read` those of its added tokens that are not taken for text."""

    def __init__(self, definition: Part, normalizer: Any, read: Sequence[Part]) -> None:
        self._normalizer = normalizer
        normalizers = list(_parts(definition.get("normalizer"), "normalizers"))
        spelled = [str(token["content"]) for token in read]
        behind = [*map(self._normal, spelled)]  # some are looked for behind the normalizer
        self._spelled = frozenset(a + b for content in spelled + behind for a, b in pairwise(content))
        self._sought = frozenset("".join(map(_sought, normalizers)))
        places = _places(list(_parts(definition.get("pre_tokenizer"), "pretokenizers")))
        if not all(map(_is_local, normalizers)) or any(map(_reaches_out, read)):
            places = ()
        if any(token.get("single_word") for token in read):  # may look at a letter or `_` behind it
            places = tuple(place for place in places if place not in (_WITHIN_MARKS, _IDEOGRAPHS))
        if " " not in self._normal("\u4e00\u4e00"):
            places = tuple(place for place in places if place != _IDEOGRAPHS)
        self._place = re.compile("|".join(places)) if places else None

    def pieces(self, text: str, least: int) -> Iterator[tuple[int, int]]:
        """(start, stop) of the pieces of a text: each ends at the first split point behind `least` characters."""
        start = 0
        while (stop := self._next(text, start + least)) is not None:
            yield start, stop
            start = stop
        yield start, len(text)

    def _next(self, text: str, start: int) -> int | None:
        """The first split point at `start` or behind it."""
        if self._place is None:
            return None
        found = (place.start() for place in self._place.finditer(text, start))
        return next((at for at in found if self._holds(text, at)), None)

    def _holds(self, text: str, at: int) -> bool:
        """Whether a place that looks like a split point is one for the normalizer and the added tokens too."""
        before, behind = text[at - 1], text[at : at + 2]
        if before + behind[0] in self._spelled or self._sought.issuperset((before, behind[0])):
            return False
        left, right = self._normal(before), self._normal(behind)
        if not left or not right or left + right != self._normal(before + behind):
            return False
        if left[-1] + right[0] in self._spelled or self._sought.issuperset((left[-1], right[0])):
            return False
        if behind[0].isspace():
            return right[0] in (" ", behind[0]) and (before.isspace() or not left[-1].isspace())
        if before.isalnum() and behind[0].isalnum():
            return left[-1].isspace() or right[0].isspace()
        if before.isalnum():
            return left[-1].isalnum() and not right[0].isalnum() and not right[0].isspace()
        return left == before

    def _normal(self, text: str) -> str:
        return text if self._normalizer is None else str(self._normalizer.normalize_str(text))


def _places(pre_tokenizers: Sequence[Part]) -> tuple[str, ...]:
    """What the first pre-tokenizer of a row cuts at: those behind it see one word at a time."""
    for number, part in enumerate(pre_tokenizers):
        kind = part["type"]
        if kind in ("Punctuation", "Digits"):  # neither minds blanks
            continue
        if not part.get("use_regex", True) or not part.get("split", True):  # make one word of a whole text
            return ()
        places = _KINDS.get(kind, ())
        return tuple(place for place in places if place in (_BLANK, _LINE_END)) if number else places
    return ()


def _parts(part: Part | None, inside: str) -> Iterator[Part]:
    """A normalizer or pre-tokenizer, or those that a sequence of them is made of."""
    if part is None:
        return
    if part["type"] == "Sequence":
        for each in part[inside]:
            yield from _parts(each, inside)
    else:
        yield part


def _is_local(normalizer: Part) -> bool:
    match normalizer:
        case {"type": "Replace", "pattern": {"String": str(sought)}}:
            return not any(map(str.isspace, sought))
        case {"type": "Replace", "pattern": {"Regex": str(sought)}}:
            return sought in _OF_BLANKS
        case {"type": "Strip", "strip_left": False}:
            return True
        case _:
            return normalizer["type"] in _LOCAL


def _sought(normalizer: Part) -> str:
    """What a normalizer replaces; a split point must not be in the middle of it."""
    match normalizer:
        case {"type": "Replace", "pattern": {"String": str(sought)}}:
            return sought
        case _:
            return ""


def _reaches_out(token: Part) -> bool:
    """Whether an added token takes the blanks behind it, or is a letter that a piece might begin with."""
    return bool(token.get("rstrip")) or len(str(token["content"])) < 2

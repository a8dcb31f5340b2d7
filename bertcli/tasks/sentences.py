"""Splitting text into sentences, so that everything between them can be put back as it was.

A line is never joined to another, tabs and runs of blanks stay, and so do the marks of Markdown at the beginning of a
line. The rules are those of punctuation; abbreviations of a few European languages are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A possible end: closing punctuation with quotes and brackets behind it, then blanks; or the full stops of CJK.
_END = re.compile(
    r"""([.!?\u2026]+["'\u201d\u2019\u00bb)\]]*)(\s+)|([\u3002\uff01\uff1f]+["\u201d\u2019\u300d\u300f\uff09]*)(\s*)"""
)
_OPENING = (
    "\"'\u201c\u2018\u00ab([\u00bf\u00a1\u2014\u2013- "  # quotes, brackets and dashes before a first word
)
_LINE = re.compile(r"[^\n\r\t\v\f]+")
_MARKUP = re.compile(r"(?:>\s?)*(?:#{1,6}\s+|[-*+]\s+(?:\[[ xX]\]\s+)?|\d{1,3}[.)]\s+)?")
_LAST_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$")
_LETTER = re.compile(r"[^\W\d_]")
_ABBREVIATIONS = frozenset(
    [
        "mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "etc", "e.g", "i.e",
        "approx", "dept", "est", "fig", "figs", "inc", "ltd", "no", "nos", "vol", "p", "pp",
        "cf", "al", "bzw", "ca", "evtl", "ggf", "inkl", "nr", "s", "str", "u.a", "usw",
        "z.b", "d.h", "bspw", "vgl", "hr", "fr", "m", "mm", "mme", "mlle", "av", "bd",
        "env", "p.ex", "art", "chap", "dhr", "mevr", "drs", "ir", "ing", "bijv", "enz", "o.a",
        "t.a.v", "sr", "sra", "srta", "ud", "uds", "pág", "ej", "sig", "sigg", "jan", "feb",
        "mar", "apr", "jun", "jul", "aug", "sep", "sept", "oct", "okt", "nov", "dec", "dez",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence: its place in the text, (start, stop)."""

    start: int
    stop: int


def split_sentences(text: str) -> list[Sentence]:
    """The sentences of a text that have a letter in them; what lies between them is blanks, marks and numbers."""
    return [Sentence(start, stop) for start, stop in _spans(text) if _LETTER.search(text, start, stop)]


def whole_text(text: str) -> list[Sentence]:
    """The text without the blanks around it, as one."""
    start = len(text) - len(text.lstrip())
    return [Sentence(start, len(text.rstrip()))]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for line in _LINE.finditer(text):
        start, stop = line.span()
        start += len(text[start:stop]) - len(text[start:stop].lstrip())
        stop = start + len(text[start:stop].rstrip())
        if start >= stop:
            continue
        markup = _MARKUP.match(text, start, stop)
        begin = markup.end() if markup and markup.end() < stop else start
        for end in _END.finditer(text, begin, stop):
            place = end.end(1) if end[1] else end.end(3)
            if place < stop and _ends_sentence(text, begin, end, stop):
                yield begin, place
                begin = end.end()
        if begin < stop:
            yield begin, stop


def _ends_sentence(text: str, begin: int, end: re.Match[str], stop: int) -> bool:
    if end[3]:
        return True
    following = text[end.end() : stop].lstrip(_OPENING)
    if not following or following[0].islower():
        return False
    if end[1][0] != "." or end[1].startswith(".."):
        return True
    word = _LAST_WORD.search(text[begin : end.start()])
    if word is None:
        return True
    last = word[0]
    return not (len(last) == 1 and last.isupper()) and last.lower() not in _ABBREVIATIONS

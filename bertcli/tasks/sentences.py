"""Splitting text into sentences, so that everything between them can be put back as it was.

A line is never joined to another, tabs and runs of blanks stay, and so do the marks of Markdown at the beginning of a
line. The cells of a Markdown table are apart, a fenced code block is left as it is, and so are tags around a whole line
and the positions of subtitles. The rules are those of punctuation; abbreviations of a few European languages are known.
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
_LINE = re.compile(r"[^\n\r]+")
_PART = re.compile(r"[^\t\v\f]+")
_ROW = re.compile(r"\s*(?:>\s?)*\|.*\|")  # of a table
_CELL = re.compile(r"(?:\\.|[^|\t\v\f])+")
_FENCED = re.compile(
    r"^[> \t]*(`{3,}|~{3,})[^\n`]*\n(?:.*\n)*?[> \t]*\1[`~]*[ \t\r]*$", re.MULTILINE
)  # an end without a beginning is text
_TAG = re.compile(r"<(\w+)[^<>]*>\s*")
_MARKUP = re.compile(
    r"(?:\{\\\w[^{}]*\}\s*)*(?:>\s?)*(?:#{1,6}\s+|[-*+]\s+(?:\[[ xX]\]\s+)?|\d{1,3}[.)]\s+)?"
)
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
    for start, stop in _parts(text):
        start += len(text[start:stop]) - len(text[start:stop].lstrip())
        stop = start + len(text[start:stop].rstrip())
        if start >= stop:
            continue
        markup = _MARKUP.match(text, start, stop)
        begin = markup.end() if markup and markup.end() < stop else start
        begin, stop = _without_tags(text, begin, stop)
        for end in _END.finditer(text, begin, stop):
            place = end.end(1) if end[1] else end.end(3)
            if place < stop and _ends_sentence(text, begin, end, stop):
                yield begin, place
                begin = end.end()
        if begin < stop:
            yield begin, stop


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Lines, and of these the parts between tabs or the cells of a table; nothing of fenced code."""
    fenced = [match.span() for match in _FENCED.finditer(text)] if "```" in text or "~~~" in text else []
    for line in _LINE.finditer(text):
        if any(start <= line.start() < stop for start, stop in fenced):
            continue
        part = _CELL if _ROW.match(text, *line.span()) else _PART
        for match in part.finditer(text, *line.span()):
            yield match.span()


def _without_tags(text: str, start: int, stop: int) -> tuple[int, int]:
    """What is inside of tags that are around all of it (`<i>…</i>`)."""
    while opening := _TAG.match(text, start, stop):
        closing = re.compile(rf"\s*</{opening[1]}>$").search(text[opening.end() : stop])
        if closing is None or not closing.start():
            break
        start, stop = opening.end(), opening.end() + closing.start()
    return start, stop


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

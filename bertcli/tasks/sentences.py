"""Splitting text into sentences, so that everything between them can be put back as it was.

A line is never joined to another, tabs and runs of blanks stay, and so do the marks of Markdown at the beginning of a
line. The cells of a Markdown table are apart. Fenced code, tags around a whole line and the positions of subtitles stay
as they are, and so do code in a line, addresses, images, and the brackets and targets of links, between which texts are
apart. The rules are those of punctuation; abbreviations of a few European languages are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A possible end: closing punctuation with quotes and brackets behind it, then blanks; or the full stops of CJK.
_END = re.compile(
    r"""((?<![.!?\u2026])[.!?\u2026]+["'\u201d\u2019\u00bb)\]]*)(\s+)|([\u3002\uff01\uff1f]+["\u201d\u2019\u300d\u300f\uff09]*)(\s*)"""
)
# Quotes, brackets and dashes before a first word.
_OPENINGS = re.compile("[\"'\u201c\u2018\u00ab(\\[\u00bf\u00a1\u2014\u2013 -]*+(.)", re.DOTALL)
_LINE = re.compile(r"[^\n\r]+")
_PART = re.compile(r"[^\t\v\f]+")
_ROW = re.compile(r"\s*(?:>\s?)*\|.*\|")  # of a table
_CELL = re.compile(r"(?:\\.|[^|\t\v\f])+")
_FENCE = re.compile(
    r"^[> \t]*(`{3,}|~{3,})([^\n`]*)$", re.MULTILINE
)  # a line that begins or ends a code block
_VOICE = re.compile(r"<v[ .][^<>]*>\s*")  # of WebVTT: who speaks
_UNTRANSLATED = re.compile(
    r"\A---[ \t]*\n(?:.*\n)*?---[ \t\r]*$|^ {0,3}\[[^\[\]^][^\[\]]*\]:[ \t]*\S.*$|<!--(?:[^-]|-(?!->))*-->",
    re.MULTILINE,
)  # front matter, the target of links with a name, a comment
_TAG = re.compile(r"<(\w+)[^<>]*>\s*")
_MARKUP = re.compile(
    r"(?:\{\\\w[^{}]*\}\s*)*(?:>\s?)*"
    r"(?:#{1,6}\s+|[-*+]\s+(?:\[[ xX]\]\s+)?|\d{1,3}[.)]\s+|\[\^[^\[\]\s]+\]:\s+"
    r"|[-\u2010-\u2014](?=[^\W\d_])|[\u2010-\u2014\u266a]\s*)?"  # speakers and songs in subtitles
)
_TARGET = r"(?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])"  # of a link: `(address)` or `[name]`
_CJK = r"\u2e80-\u9fff\uac00-\ud7af\uff00-\uffef"  # end an address
_KEPT = re.compile(
    rf"""(?<!`)(`+)(?!`)(?:(?!'').)*?(?<!`)\1(?!`)      # code, but not ``quotes''
    | !\[[^\[\]]*\]{_TARGET}                            # an image
    | \[(?=[^\[\]]*\]{_TARGET}) | \]{_TARGET}           # what is around the text of a link
    | <(?:https?://|mailto:)[^<>\s]*> | <[bh]r\s*/?> | <[\d:.]+>  # of WebVTT: a time
    | \[\^[^\[\]\s]+\]                                  # a footnote
    | (?<![A-Za-z0-9])(?:https?://|www\.)[^\s<>"|{_CJK}]*[^\s<>"|{_CJK}.,;:!?'()\[\]{{}}*_]
    | (?<![A-Za-z0-9.+_-])[A-Za-z0-9.+_-]{{1,64}}@[A-Za-z0-9-]{{1,63}}(?:\.[A-Za-z0-9-]{{1,63}})+""",
    re.VERBOSE,
)
_BEHIND_KEPT = re.compile(r"[^\w\s]*\s*")
_LAST_WORD = re.compile(r"[^\W\d_]+(?:\.[^\W\d_]+)*$")
_LONGEST_ABBREVIATION = 40  # characters; more of a sentence need not be looked at
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
        for between in _between_kept(text, *_without_tags(text, begin, stop)):
            yield from _sentences(text, *between)


def _sentences(text: str, begin: int, stop: int) -> Iterator[tuple[int, int]]:
    """The sentences of a part that is translated."""
    for end in _END.finditer(text, begin, stop):
        place = end.end(1) if end[1] else end.end(3)
        if place < stop and _ends_sentence(text, begin, end, stop):
            yield begin, place
            begin = end.end()
    if begin < stop:
        yield begin, stop


def _between_kept(text: str, begin: int, stop: int) -> Iterator[tuple[int, int]]:
    """What is translated of a line: the parts between what is kept, without the blanks and marks around them."""
    first = begin
    for end, behind_kept in [*(match.span() for match in _KEPT.finditer(text, begin, stop)), (stop, stop)]:
        behind = _BEHIND_KEPT.match(text, begin, end)
        start = behind.end() if behind and begin > first else begin
        part = text[start:end].rstrip()
        if part:
            yield start, start + len(part)
        begin = behind_kept


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Lines, and of these the parts between tabs or the cells of a table; nothing of fenced code."""
    fenced = list(_code_blocks(text)) if "```" in text or "~~~" in text else []
    fenced += [match.span() for match in _UNTRANSLATED.finditer(text)]
    for line in _LINE.finditer(text):
        if any(start <= line.start() < stop for start, stop in fenced):
            continue
        part = _CELL if _ROW.match(text, *line.span()) else _PART
        for match in part.finditer(text, *line.span()):
            yield match.span()


def _code_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Fenced code with its fences. A fence that is never closed is text."""
    fences = list(_FENCE.finditer(text))
    unclosed = {"`": len(text), "~": len(text)}  # fences of so many marks have no end
    place = 0
    while place < len(fences):
        marks = fences[place][1]
        closing = None
        if len(marks) < unclosed[marks[0]]:
            later = range(place + 1, len(fences))
            closing = next((number for number in later if _closes(fences[number], marks)), None)
            if closing is None:
                unclosed[marks[0]] = len(marks)
        if closing is not None:
            yield fences[place].start(), fences[closing].end()
            place = closing
        place += 1


def _closes(fence: re.Match[str], marks: str) -> bool:
    return fence[1].startswith(marks) and not fence[2].strip("`~ \t\r")


def _without_tags(text: str, start: int, stop: int) -> tuple[int, int]:
    """What is inside of tags that are around all of it (`<i>…</i>`)."""
    while opening := _TAG.match(text, start, stop):
        closing = f"</{opening[1]}>"
        inner = text[opening.end() : stop].removesuffix(closing).rstrip()
        if not inner:
            return stop, stop
        if not text.endswith(closing, opening.end(), stop):
            break
        start, stop = opening.end(), opening.end() + len(inner)
    voice = _VOICE.match(text, start, stop)
    return voice.end() if voice else start, stop


def _ends_sentence(text: str, begin: int, end: re.Match[str], stop: int) -> bool:
    if end[3]:
        return True
    following = _OPENINGS.match(text, end.end(), stop)
    if following is None or following[1].islower():
        return False
    if end[1][0] != "." or end[1].startswith(".."):
        return True
    word = _LAST_WORD.search(text[max(begin, end.start() - _LONGEST_ABBREVIATION) : end.start()])
    if word is None:
        return True
    last = word[0]
    return not (len(last) == 1 and last.isupper()) and last.lower() not in _ABBREVIATIONS

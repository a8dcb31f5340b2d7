"""Lines of styled text, measured and cut in terminal cells: a CJK character or an emoji takes two."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import get_character_cell_size

from bertcli.console.drawing import painted, visible

Span = tuple[str, str]  # text and its style (SGR parameters, empty for plain)
Line = list[Span]

NO_BREAK = "\xa0"  # the blank that keeps two words on one line
BEHIND_BLANKS = re.compile(rf"(?<=[^\S{NO_BREAK}])(?=[\S{NO_BREAK}])")
LONGEST_CHARACTER = 8  # code points of one cell that are looked at before a long text is measured


def shown(text: str, cells: int | None) -> str:
    """The text made visible, and no more of it than can matter in `cells`; … for the rest."""
    most = len(text) if cells is None else LONGEST_CHARACTER * (cells + 1)
    return visible(text[:most]) + ("…" if len(text) > most else "")


def measured(text: str) -> int:
    """The cells a text takes at most. Terminals that join emoji into one (families, skin tones) need fewer,
    others show each part: counting the parts keeps a line from wrapping on either."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def truncated_to(text: str, cells: int) -> str:
    """The text in at most `cells`, ending in … where something is left out."""
    return text if measured(text) <= cells else _begun(text, cells)


def padded(text: str, cells: int) -> str:
    """The text cut or filled up to exactly `cells`."""
    text = truncated_to(text, cells)
    return text + " " * (cells - measured(text))


def last_cells(text: str, cells: int) -> str:
    """The end of the text in at most `cells`, beginning with … where something is left out."""
    text = text[-LONGEST_CHARACTER * (cells + 1) :]
    if measured(text) <= cells:
        return text
    start, space = len(text), cells - 1
    while start > 0 and (size := _cells(text[start - 1])) <= space:
        start, space = start - 1, space - size
    return "…" + text[start:].lstrip()


def folded(line: Line, first: int, others: int) -> list[Line]:
    """The line as several: one of at most `first` cells, then of `others`, cut behind blanks (those that may
    be cut at). A word is cut only where it is longer than a line."""
    lines: list[Line] = [[]]
    space = first
    for part in _parts(line, others):
        if _solid(part) > space and (lines[-1] or space < others):
            lines.append([])
            space = others
        lines[-1] += part
        space -= sum(measured(text) for text, _ in part)
    return lines


def _parts(line: Line, cells: int) -> Iterator[Line]:
    """The words of a line with the blanks behind them; of longer words than `cells` the characters."""
    word: Line = []
    for text, style in line:
        for part in BEHIND_BLANKS.split(text):
            word.append((part, style))
            if part[-1:].isspace() and part[-1] != NO_BREAK:
                yield from _fitting(word, cells)
                word = []
    yield from _fitting(word, cells)


def _fitting(word: Line, cells: int) -> list[Line]:
    if _solid(word) <= cells:
        return [word]
    return [[(character, style)] for text, style in word for character in text]


def _solid(word: Line) -> int:
    """The cells of a word without the blanks behind it."""
    return sum(
        measured(text.rstrip() if place == len(word) else text) for place, (text, _) in enumerate(word, 1)
    )


def rendered(line: Line, cells: int | None, *, color: bool) -> str:
    """The line as a string, cut to `cells`, with ANSI styles if `color`; no spaces at its end."""
    spans = line
    while spans and not spans[-1][0].rstrip():
        spans = spans[:-1]
    if spans:
        spans = [*spans[:-1], (spans[-1][0].rstrip(), spans[-1][1])]
    if cells is not None:
        spans = _cut_line(spans, cells)
    return "".join(painted(text, style if color else "") for text, style in spans)


def _cut_line(line: Line, cells: int) -> Line:
    if sum(measured(text) for text, _ in line) <= cells:
        return line
    kept: Line = []
    space = cells
    for text, style in line:
        size = measured(text)
        if size >= space:
            return [*kept, (_begun(text, space), style)]
        kept.append((text, style))
        space -= size
    return kept


def _begun(text: str, cells: int) -> str:
    """As much of the text as leaves room for the … that ends it."""
    end, space = 0, cells - 1
    while end < len(text) and (size := _cells(text[end])) <= space:
        end, space = end + 1, space - size
    return text[:end].rstrip() + "…"


def _cells(character: str) -> int:
    if "\U0001f3fb" <= character <= "\U0001f3ff":  # skin tones: a square of their own where not joined
        return 2
    if character == "\ufe0f":  # asks for the wide form of the character before
        return 1
    return get_character_cell_size(character)

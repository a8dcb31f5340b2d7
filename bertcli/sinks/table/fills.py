"""Filled masks in a table: the sentences, with the words that were found standing out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from bertcli.console.drawing import BOLD, CYAN, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, last_cells, measured, shown, truncated_to
from bertcli.sinks.table.page import Page

MASK = re.compile(r"\[MASK\]|<mask>", re.IGNORECASE)
WORD = f"{BOLD};{CYAN}"
LEAST_GAP = 8  # cells of the text between two words

Part = tuple[str, bool]  # a part of the text, and whether it is a word that was found


class FillsView:
    """A line for each way to fill the masks: `0.4121 ━━━━╸  The capital of France is paris.`"""

    separate = True

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        heading = [*self._page.id(result), *self._page.remarks(result)]
        lines = [heading] if heading else []
        for fill in result.values["fills"]:
            sentence = self._sentence(filled_parts(result.record.text or "", fill["text"], fill["words"]))
            lines.append([*self._page.score(fill["score"]), *sentence])
        if not result.values["fills"]:
            lines.append([("no word fits", DIM)])
        return lines

    def _sentence(self, parts: Sequence[Part]) -> Line:
        """The sentence, its words highlighted; what is long before and between them is shortened until the
        last of them is in sight."""
        spans = [(shown(text, None), WORD if is_word else "") for text, is_word in parts]
        words = [place for place, (_, is_word) in enumerate(parts) if is_word]
        if self._page.width is None or not words:
            return spans
        space = self._page.width - self._page.score_cells
        if sum(measured(text) for text, _ in spans) <= space:
            return spans
        space -= space // 4 + sum(measured(spans[place][0]) for place in words)
        gaps = [place for place in range(words[-1]) if place not in words]
        for left, place in zip(range(len(gaps), 0, -1), gaps, strict=True):
            text = _shortened(spans[place][0], max(LEAST_GAP, space // left), at_start=place == 0)
            spans[place] = (text, "")
            space -= measured(text)
        return spans


def _shortened(text: str, cells: int, *, at_start: bool) -> str:
    """The text in at most `cells`: its end, or its beginning and its end, with … for what is left out."""
    if measured(text) <= cells:
        return text
    if at_start:
        return last_cells(text, cells)
    return truncated_to(text, cells // 2) + last_cells(text, cells - cells // 2 + 1)[1:]


def filled_parts(asked: str, filled: str, words: Sequence[str]) -> list[Part]:
    """The filled text cut at its words, which never lie side by side; `asked` is the text with masks.

    Exact where the masks have their usual spelling and nothing else of the text changed; else each word is
    looked for behind the one before it, from where the two texts part.
    """
    gaps = MASK.split(asked)
    if len(gaps) == len(words) + 1:
        parts: list[Part] = [(gaps[0], False)]
        for word, gap in zip(words, gaps[1:], strict=True):
            parts += [(word, True), (gap, False)]
        if "".join(text for text, _ in parts) == filled:
            return parts
    common = takewhile(lambda pair: pair[0] == pair[1], zip(asked, filled, strict=False))
    return _searched(filled, words, sum(1 for _ in common))


def _searched(filled: str, words: Sequence[str], start: int) -> list[Part]:
    parts: list[Part] = []
    done = 0
    for word in words:
        place = filled.find(word, start)
        if place >= 0:
            parts += [(filled[done:place], False), (word, True)]
            done = start = place + len(word)
    return [*parts, (filled[done:], False)]

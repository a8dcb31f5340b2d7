"""Texts that were found, in a table: as grep shows lines, the nearest first."""

from __future__ import annotations

from bertcli.console.drawing import BOLD, CYAN
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, measured, padded, shown
from bertcli.sinks.table.page import Page


class HitsView:
    """`notes.txt:12  0.8123 ━━━━━━━━  how to get your money back`; of several queries each over its own."""

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._begun = False
        self._cells = 0

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        lines: list[Line] = []
        if values["rank"] == 1 and "query" in values:
            lines = [*([[]] if self._begun else []), [(shown(values["query"], page.width), BOLD)]]
            self._begun = True
        place = page.fitted(values["where"], 3)
        self._cells = max(self._cells, measured(place))
        lead: Line = [(padded(place, self._cells) + "  ", CYAN), *page.score(values["score"])]
        return [*lines, [*lead, *page.id(result), *page.text(result)]]


class PairsView:
    """Two texts that are nearly the same, under each other.

    `notes.txt:12  0.9876 ━━━━━━━━━╸  the text`
    `notes.txt:40                     The text!`
    """

    separate = True

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        both = values["first"], values["second"]
        places = [page.fitted(entry["where"], 3) for entry in both]
        cells = max(map(measured, places))
        scores = page.score(values["score"]), page.score(None)
        texts = [str(entry.get(page.layout.text_field) or "") for entry in both]
        return [
            [(padded(place, cells) + "  ", CYAN), *score, (shown(text, page.width), "")]
            for place, score, text in zip(places, scores, texts, strict=True)
        ]

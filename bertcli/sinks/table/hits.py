"""Texts that were found, in a table: as grep shows lines, the nearest first.

Both views look at results before they are shown (`fit`), so that their columns fit all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from bertcli.console.drawing import BOLD, CYAN, meter
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, last_cells, measured, padded, shown
from bertcli.sinks.table.page import Page

LEAST_PLACE_CELLS = 12


class Columns:
    """The columns before the text: the place of a text, of which the end is shown, and its score, with a bar
    where all scores are cosines. They only grow."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._place_cells = 0
        self._number_cells = 0
        self._bars = True

    def fit(self, places: Iterable[str], scores: Iterable[float | None]) -> None:
        numbers = [score for score in scores if score is not None]
        self._place_cells = max([self._place_cells, *(measured(self._shown(place)) for place in places)])
        self._number_cells = max([self._number_cells, *(len(self._page.number(score)) for score in numbers)])
        self._bars = self._bars and all(-1.001 < score < 1.001 for score in numbers)

    def lead(self, place: str, score: float | None) -> Line:
        """Both columns, with the gap behind them; the score of a text may be in another line."""
        number = "" if score is None else self._page.number(score)
        line: Line = [
            (padded(self._shown(place), self._place_cells) + "  ", CYAN),
            (number.rjust(self._number_cells), ""),
        ]
        if self._bars:
            cells = self._page.bar_cells
            line.append((" " + meter(score or 0.0, cells).ljust(cells), CYAN))
        return [*line, ("  ", "")]

    def _shown(self, place: str) -> str:
        width = self._page.width
        place = shown(place, None)
        return place if width is None else last_cells(place, max(LEAST_PLACE_CELLS, width // 3))


class HitsView:
    """`notes.txt:12  0.8123 ━━━━━━━━  how to get your money back`; of several queries each over its own."""

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._begun = False
        self._columns = Columns(page)

    def fit(self, results: Sequence[Result]) -> None:
        values = [result.values for result in results]
        self._columns.fit([one["where"] for one in values], [one["score"] for one in values])

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        lines: list[Line] = []
        query = values.get("query", result.record.pair)
        if values["rank"] == 1 and query is not None:
            lines = [*([[]] if self._begun else []), [(shown(query, page.width), BOLD)]]
            self._begun = True
        lead = self._columns.lead(values["where"], values["score"])
        found = replace(result, record=replace(result.record, pair=None))  # the query is shown above
        return [*lines, [*lead, *page.id(result), *page.remarks(result), *page.text(found)]]


class PairsView:
    """Two texts that are nearly the same, under each other.

    `notes.txt:12  0.9876 ━━━━━━━━━╸  the text`
    `notes.txt:40                     The text!`
    """

    separate = True

    def __init__(self, page: Page) -> None:
        self._page = page
        self._columns = Columns(page)

    def fit(self, results: Sequence[Result]) -> None:
        values = [result.values for result in results]
        places = [one[side]["where"] for one in values for side in ("first", "second")]
        self._columns.fit(places, [one["score"] for one in values])

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        both = values["first"], values["second"]
        scores = values["score"], None
        texts = [str(entry.get(page.layout.text_field) or "") for entry in both]
        return [
            [*self._columns.lead(entry["where"], score), (shown(text, page.width), "")]
            for entry, score, text in zip(both, scores, texts, strict=True)
        ]

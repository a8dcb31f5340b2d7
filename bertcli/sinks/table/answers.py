"""Answers in a table: the answer, and its place in the text."""

from __future__ import annotations

from bertcli.console.drawing import BOLD, CYAN, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, last_cells, measured, shown
from bertcli.sinks.table.page import Page

ANSWER = f"{BOLD};{CYAN}"
NONE = "no answer"


class AnswerView:
    """`0.9871 ━━━━━━━━━━  Paris  The capital of France is Paris.`, below the question where each has its own.

    Of a text that is longer than the line it is the part around the answer.
    """

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        found = values["answer"]
        lead = [*page.id(result), *page.score(values["score"])]
        lead.append((NONE, DIM) if found is None else (page.fitted(found, 2), BOLD))
        lead += [("  ", ""), *page.remarks(result)]
        lines = [[*lead, *self._around(result, lead)]]
        if result.record.pair is not None:
            lines.insert(0, [(shown(result.record.pair, page.width), DIM)])
        return lines

    def _around(self, result: Result, lead: Line) -> Line:
        """The text with the answer standing out, where the text is repeated."""
        if not self._page.layout.echo:
            return []
        text, start, end = result.record.text or "", result.values["start"], result.values["end"]
        if start is None:
            return [(shown(text, self._page.width), "")]
        before, found = shown(text[:start], None), shown(text[start:end], None)
        if self._page.width is not None:
            space = self._page.width - sum(measured(part) for part, _ in lead)
            before = last_cells(before, max(8, space - measured(found) - space // 4))
        return [(before, ""), (found, ANSWER), (shown(text[end:], self._page.width), "")]

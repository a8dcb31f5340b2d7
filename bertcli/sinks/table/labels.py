"""Labels in a table: one a line with its text, or several under it."""

from __future__ import annotations

from bertcli.console.drawing import BOLD, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, measured, padded, shown
from bertcli.sinks.table.page import Page

LEAST_CELLS = 10  # of the label column to begin with; it grows with the labels that come


class LabelView:
    """`0.9987 ━━━━━━━━━━  praise  I loved every minute of it`"""

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._cells = LEAST_CELLS

    def header(self) -> list[Line]:
        return self._page.header(("score", self._page.score_cells), ("label", self._cells + 2))

    def lines(self, result: Result) -> list[Line]:
        page = self._page
        label = result.values["label"]
        name = "-" if label is None else page.fitted(str(label), 4)
        self._cells = max(self._cells, measured(name))
        text = page.text(result)
        labelled = (padded(name, self._cells) if text else name, DIM if label is None else BOLD)
        score = page.score(result.values["score"])
        return [[*page.id(result), *score, labelled, ("  ", ""), *page.remarks(result), *text]]


class LabelsView:
    """The text, and a line for each of its labels, best first."""

    separate = True

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        heading = self._page.heading(result)
        indent: Line = [("  ", "")] if heading else []
        lines = [heading] if heading else []
        for entry in result.values["labels"]:
            lines.append([*indent, *self._page.score(entry["score"]), (shown(entry["label"], None), BOLD)])
        if not result.values["labels"]:
            lines.append([*indent, ("no label over the threshold", DIM)])
        return lines

"""Labels in a table: one a line with its text, or several under it, of one head or of several."""

from __future__ import annotations

from collections.abc import Sequence

from bertcli.console.drawing import BOLD, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, measured, padded, shown
from bertcli.sinks.table.page import Page

MEASURES = ("entropy", "margin")  # how sure a head is
MEASURE_CELLS = 9
LEAST_CELLS = 10  # of the label column to begin with; it grows with the labels that come


class LabelView:
    """`0.9987 ━━━━━━━━━━  praise  I loved every minute of it`"""

    fields = ("label", "score")
    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._cells = LEAST_CELLS
        self._measures = [name for name in MEASURES if name in page.layout.results]

    def header(self) -> list[Line]:
        measures = [(name, MEASURE_CELLS) for name in self._measures]
        return self._page.header(("score", self._page.score_cells), *measures, ("label", self._cells + 2))

    def lines(self, result: Result) -> list[Line]:
        page = self._page
        label = result.values["label"]
        name = "-" if label is None else page.fitted(str(label), 4)
        self._cells = max(self._cells, measured(name))
        text = page.text(result)
        labelled = (padded(name, self._cells) if text else name, DIM if label is None else BOLD)
        score = page.score(result.values["score"])
        measures = [(page.number(result.values[one]).ljust(MEASURE_CELLS), "") for one in self._measures]
        return [[*page.id(result), *score, *measures, labelled, ("  ", ""), *page.remarks(result), *text]]


class HeadsView:
    """The text, and under it a line for each of several label heads."""

    separate = True

    def __init__(self, page: Page, heads: Sequence[str]) -> None:
        self._page = page
        self._heads = heads
        self._cells = max(map(measured, heads))

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        heading = page.heading(result)
        indent: Line = [("  ", "")] if heading else []
        lines = [heading] if heading else []
        for head in self._heads:
            label = values[f"{head}_label"]
            named = ("-", DIM) if label is None else (shown(str(label), page.width), BOLD)
            score = page.score(values[f"{head}_score"])
            lines.append([*indent, *score, (padded(head, self._cells) + "  ", DIM), named])
        return lines


class LabelsView:
    """The text, and a line for each of its labels, best first."""

    fields = ("label", "score", "labels")
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
        lines += [
            [*indent, (f"{name} ", DIM), (self._page.number(result.values[name]), "")]
            for name in MEASURES
            if name in result.values
        ]
        return lines

"""The table: results for a person, line by line as they come."""

from __future__ import annotations

from bertcli.console import Terminal
from bertcli.journal import Mark
from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.table.cells import Line, rendered
from bertcli.sinks.table.page import Page
from bertcli.sinks.table.views import FittedView, choose_view
from bertcli.sinks.text import TextSink

SCORE_DECIMALS = 4
FITTED = 256  # results that a fitted view sees at once


class TableSink(TextSink):
    """The answer first, in columns, and the text it is for last, so that no width must be known beforehand.

    On a terminal a line is cut to its width; elsewhere it is as long as it must be. A table shows the id
    field, the text and the answer; the other fields are for the forms that programs read.
    """

    def __init__(self, output: ByteSink, layout: Layout, terminal: Terminal, digits: int | None) -> None:
        super().__init__(output)
        self._terminal = terminal
        self._page = Page(layout, terminal.width, SCORE_DECIMALS if digits is None else digits)
        self._view = choose_view(self._page)
        self._began = False
        self._waiting: list[Result] = []  # for a fitted view

    def write(self, result: Result) -> None:
        if isinstance(self._view, FittedView):
            self._waiting.append(result)
            if len(self._waiting) < FITTED:
                return
            self._show_waiting()
        else:
            self._show(result)

    def _show_waiting(self) -> None:
        if self._waiting and isinstance(self._view, FittedView):
            self._view.fit([result for result in self._waiting if result.status == "done"])
        for result in self._waiting:
            self._show(result)
        self._waiting.clear()

    def _show(self, result: Result) -> None:
        lines = self._page.trouble(result) or self._view.lines(result)
        if not self._began:
            lines = [*self._view.header(), *lines]
        elif self._view.separate:
            lines = [[], *lines]
        self._began = True
        self._output.write("".join(map(self._drawn, lines)).encode("utf-8"))

    def flush(self) -> None:
        self._show_waiting()
        self._output.flush()

    def mark(self) -> Mark | None:
        """None: columns grow with their content, so a table cannot be resumed."""
        return None

    def close(self, complete: bool) -> None:
        if complete:
            self._show_waiting()
        self._output.close(complete)

    def _drawn(self, line: Line) -> str:
        return rendered(line, self._terminal.width, color=self._terminal.color) + "\n"

"""Any other answer in a table, field by field."""

from __future__ import annotations

from typing import Any

from bertcli.console.drawing import DIM
from bertcli.records import Result
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.table.cells import NO_BREAK, Line, shown
from bertcli.sinks.table.page import Page


class FieldsView:
    """`score -12.3456  tokens 8  I loved every minute of it`"""

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, line = self._page, list[tuple[str, str]]()
        for name, value in result.values.items():
            line += [(f"{shown(name, None)}{NO_BREAK}", DIM), (f"{self._spelled(value)}  ", "")]
        return page.folded(page.id(result), [*line, *page.remarks(result), *page.text(result)])

    def _spelled(self, value: Any) -> str:
        if value is None:
            return "-"
        if isinstance(value, float):
            return f"{value:.{self._page.decimals}f}"
        return self._page.fitted(value if isinstance(value, str) else to_json(value).decode("utf-8"), 3)

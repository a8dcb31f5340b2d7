"""Tags in a table: the text with its spans marked in it, or its tokens one a line."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from bertcli.console.drawing import BOLD, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import NO_BREAK, Line, shown
from bertcli.sinks.table.page import Page
from bertcli.sinks.table.tokens import TokensView

COLORS = ("36", "33", "35", "32", "34", "31")  # cyan, yellow, magenta, green, blue, red
MOST_TOKENS = 64  # of a record shown on a terminal


class SpansView:
    """`The capital of [France LOC] is [Paris LOC].`

    A text longer than a line goes on in the next: what it says at its end counts as much. A label stays with
    the word before it. Labels take their colours in the order in which they come.
    """

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._colors: dict[str, str] = {}
        self._unused = cycle(COLORS)

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page = self._page
        lead = [*page.id(result), *page.remarks(result)]
        text = self._marked(result.record.text or "", result.values["spans"])
        return page.folded(lead, text)

    def _marked(self, text: str, spans: list[dict[str, Any]]) -> Line:
        line: Line = []
        done = 0
        for span in spans:
            color = self._color(span["label"])
            line += [
                (shown(text[done : span["start"]], None), ""),
                ("[", DIM),
                (shown(text[span["start"] : span["end"]], None), f"{BOLD};{color}"),
                (f"{NO_BREAK}{shown(span['label'], None)}", color),
                ("]", DIM),
            ]
            done = span["end"]
        return [*line, (shown(text[done:], None), "")]

    def _color(self, label: str) -> str:
        if label not in self._colors:
            self._colors[label] = next(self._unused)
        return self._colors[label]


def token_tags(page: Page) -> TokensView:
    """`##vre  4-7  0.9987 ━━━━━━━━━━  B-PER`"""
    return TokensView(
        page, lambda token: [*page.score(token["score"]), (shown(token["label"], None), "")], most=MOST_TOKENS
    )

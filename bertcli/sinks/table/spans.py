"""Tags in a table: the text with its spans marked in it, or its tokens one a line."""

from __future__ import annotations

from itertools import cycle
from typing import Any

from bertcli.console.drawing import BOLD, DIM, grouped
from bertcli.records import Result
from bertcli.sinks.table.cells import NO_BREAK, Line, folded, measured, padded, shown
from bertcli.sinks.table.page import Page

COLORS = ("36", "33", "35", "32", "34", "31")  # cyan, yellow, magenta, green, blue, red
INDENT = "  "
MOST_TOKENS = 64  # of a record shown on a terminal
TOKEN_CELLS = 14


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
        first, others = text, list[Line]()
        if page.width is not None:
            taken = sum(measured(part) for part, _ in lead)
            first, *others = folded(text, page.width - taken, page.width - len(INDENT))
        lines = [[*lead, *first], *([(INDENT, ""), *line] for line in others)]
        return [[(part.replace(NO_BREAK, " "), style) for part, style in line] for line in lines]

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


class TokenTagsView:
    """The text, and a line for each token with its tag: `##vre  4-7  0.9987 ━━━━━━━━━━  B-PER`"""

    separate = True

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        heading = self._page.heading(result)
        lines = [heading] if heading else []
        tokens = result.values["tokens"]
        most = len(tokens) if self._page.width is None else MOST_TOKENS
        lines += [self._token(token) for token in tokens[:most]]
        if len(tokens) > most:
            lines.append([(f"{INDENT}… {grouped(len(tokens) - most)} more tokens", DIM)])
        return lines

    def _token(self, token: dict[str, Any]) -> Line:
        word = padded(shown(token["token"], None), TOKEN_CELLS)
        place = f"{token['start']}-{token['end']}"
        score = self._page.score(token["score"])
        return [(INDENT, ""), (word, BOLD), (f"{place:>9}  ", DIM), *score, (shown(token["label"], None), "")]

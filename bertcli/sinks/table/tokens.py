"""The tokens of a text in a table: the text, and a line for each token with its place in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bertcli.console.drawing import BOLD, DIM, grouped
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, padded, shown
from bertcli.sinks.table.page import INDENT, Page

TOKEN_CELLS = 14


class TokensView:
    """`##vre  4-7  …`: after its place is what `describe` gives for a token. A terminal shows at most `most`
    tokens of a text."""

    separate = True

    def __init__(self, page: Page, describe: Callable[[Mapping[str, Any]], Line], *, most: int) -> None:
        self._page = page
        self._describe = describe
        self._most = most

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        heading = self._page.heading(result)
        lines = [heading] if heading else []
        tokens = result.values["tokens"]
        most = len(tokens) if self._page.width is None else self._most
        lines += [self._token(token) for token in tokens[:most]]
        if len(tokens) > most:
            lines.append([(f"{INDENT}… {grouped(len(tokens) - most)} more tokens", DIM)])
        return lines

    def _token(self, token: Mapping[str, Any]) -> Line:
        word = padded(shown(token["token"], None), TOKEN_CELLS)
        place = f"{token['start']}-{token['end']}"
        return [(INDENT, ""), (word, BOLD), (f"{place:>9}  ", DIM), *self._describe(token)]

"""Embeddings in a table: their first numbers and how many there are."""

from __future__ import annotations

from typing import Any

from bertcli.console.drawing import BOLD, DIM, grouped
from bertcli.records import Result
from bertcli.sinks.table.cells import Line, padded, shown
from bertcli.sinks.table.page import Page

MOST_TOKENS = 16  # of a record shown on a terminal
TOKEN_CELLS = 14


class EmbeddingView:
    """`[ 0.0123 -0.0456  0.0789 … ]  384 numbers  I loved every minute of it`"""

    separate = False

    def __init__(self, page: Page) -> None:
        self._page = page
        self._cells = 0

    def header(self) -> list[Line]:
        return self._page.header(("embedding", self._cells + 2))

    def lines(self, result: Result) -> list[Line]:
        page, vector = self._page, result.values["embedding"]
        summary = f"{preview(page, vector)}  {grouped(len(vector))} numbers"
        self._cells = max(self._cells, len(summary))
        shown_vector = (summary.ljust(self._cells + 2), "")
        return [[*page.id(result), shown_vector, *page.remarks(result), *page.text(result)]]


class TokensView:
    """The text, and a line for each token with its place in the text and its vector."""

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
            lines.append([(f"  … {grouped(len(tokens) - most)} more tokens", DIM)])
        return lines

    def _token(self, token: dict[str, Any]) -> Line:
        word = padded(shown(token["token"], None), TOKEN_CELLS)
        place = f"{token['start']}-{token['end']}"
        return [
            ("  ", ""),
            (word, BOLD),
            (f"{place:>9}  ", DIM),
            (preview(self._page, token["embedding"]), ""),
        ]


def preview(page: Page, vector: Any) -> str:
    """The first numbers of a vector, as many as leave room for what it belongs to."""
    if page.width is None:
        count = 4
    elif page.layout.echo:
        count = max(2, page.width // 25)
    else:
        count = max(2, (page.width - 40) // 8)
    numbers = vector[:count].tolist()
    spelled = [f"{number:7.4f}" if isinstance(number, float) else f"{number:4d}" for number in numbers]
    return f"[{' '.join(spelled)}{' …' if len(vector) > count else ''} ]"

"""Embeddings in a table: their first numbers and how many there are."""

from __future__ import annotations

from typing import Any

from bertcli.console.drawing import grouped
from bertcli.records import Result
from bertcli.sinks.table.cells import Line
from bertcli.sinks.table.page import Page
from bertcli.sinks.table.tokens import TokensView

MOST_TOKENS = 16  # of a record shown on a terminal


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


def token_vectors(page: Page) -> TokensView:
    """The text, and each token with its place in it and its vector."""
    return TokensView(page, lambda token: [(preview(page, token["embedding"]), "")], most=MOST_TOKENS)


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

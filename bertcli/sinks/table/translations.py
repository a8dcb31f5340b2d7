"""Translations in a table: whole, however many lines they need."""

from __future__ import annotations

from bertcli.console.drawing import BOLD, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import NO_BREAK, Line, shown
from bertcli.sinks.table.page import INDENT, TROUBLE, Page


class TranslationsView:
    """`-0.1741  Ein Hund rennt am Strand.`, below the text where it is repeated; each of several in lines of its own,
    best first; under them the word alignment, `A → Ein  dog → Hund`, and the terms of a glossary that are missing."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self.separate = page.layout.echo

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        page, values = self._page, result.values
        heading = page.heading(result)
        lines: list[Line] = [[(text, DIM) for text, _ in heading]] if heading else []
        found = values.get("translations") or [{"text": values["translation"], "score": values["score"]}]
        for number, one in enumerate(found):
            text = (shown(one["text"], None), "" if number else BOLD)
            lines += page.folded([(f"{page.number(one['score'])}  ", DIM)], [text])
        words = [
            f"{shown(each['source'], None)} → {shown(each['target'], None)}".replace(" ", NO_BREAK) + "  "
            for each in values.get("alignment") or ()
        ]
        if words:
            lines += page.folded([(INDENT, "")], [(word, DIM) for word in words])
        if values.get("missing_terms"):
            terms = ", ".join(shown(term, None) for term in values["missing_terms"])
            lines += page.folded([(INDENT, "")], [(f"missing: {terms}", TROUBLE)])
        return lines

"""Pseudo-log-likelihoods in a table: a line a text, or the text with its words coloured by their surprise."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from bertcli.console.drawing import BOLD, CYAN, DIM
from bertcli.records import Result
from bertcli.sinks.table.cells import NO_BREAK, Line, shown
from bertcli.sinks.table.page import Page

# Heat: black on ever warmer grounds, which both light and dark terminals show. Limits of -log p in nats.
LIMITS = (1.0, 2.5, 5.0, 8.0)
HEAT = ("", "30;48;5;230", "30;48;5;222", "30;48;5;214", "97;48;5;160")
NUMBERED_LEVEL = 3  # the level from which on the number is shown
CELLS = 10  # of a number


class ScoreView:
    """`-19.4204      45.27  She walked along the [capital 8.1] of France.`

    Of a pair, a line each, the likelier one marked. With words, the text goes on in the lines below: what
    surprises at its end counts as much.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._paired = "likelier" in page.layout.results
        self._words = "words" in page.layout.results
        self.separate = self._paired

    def header(self) -> list[Line]:
        lead = ("  " if self._paired else "") + f"{'score':>{CELLS}}  {'perplexity':>{CELLS}}  "
        if not self._words:
            columns = self._page.header((lead, len(lead)))
            return columns or [[(lead, DIM)]]
        names = [f"<{LIMITS[0]:g}", *(f"≥{limit:g}" for limit in LIMITS)]
        legend: Line = [("surprise of a word, -log p:", DIM)]
        for name, style in zip(names, HEAT, strict=True):
            legend += [("  ", ""), (name, style)]
        return [legend]

    def lines(self, result: Result) -> list[Line]:
        values, record = result.values, result.record
        if not self._paired:
            lead = [*self._page.id(result), *self._numbers(values, ""), *self._page.remarks(result)]
            return self._text(lead, record.text or "", values.get("words"), "")
        lines = []
        for name, prefix, text in (("text", "", record.text), ("pair", "pair_", record.pair)):
            likelier = values["likelier"] == name
            lead = [*self._page.id(result), ("▸ " if likelier else "  ", CYAN)]
            lead += [*self._numbers(values, prefix), *self._page.remarks(result)]
            words = values.get(prefix + "words")
            lines += self._text(lead, text or "", words, BOLD if likelier else "")
        return lines

    def _numbers(self, values: Any, prefix: str) -> Line:
        score, perplexity = values[prefix + "score"], values[prefix + "perplexity"]
        number = "-" if score is None else f"{score:.{self._page.decimals}f}"
        return [
            (f"{number:>{CELLS}}  ", ""),
            (f"{_short(perplexity):>{CELLS}}  ", DIM),
        ]

    def _text(self, lead: Line, text: str, words: Sequence[dict[str, Any]] | None, style: str) -> list[Line]:
        page = self._page
        if words is None:
            return [[*lead, *([(shown(text, page.width), style)] if page.layout.echo else [])]]
        return page.folded(lead, heated(text, words))


def heated(text: str, words: Sequence[dict[str, Any]]) -> Line:
    """The text with each word on the ground of its heat, and with the numbers of the most surprising."""
    line: Line = []
    done = 0
    for word in words:
        surprise = -word["log_prob"]
        level = bisect_right(LIMITS, surprise)
        line.append((shown(text[done : word["start"]], None), ""))
        said = shown(text[word["start"] : word["end"]], None)
        if level < NUMBERED_LEVEL:
            line.append((said, HEAT[level]))
        else:
            line += [("[", DIM), (said, HEAT[level]), (f"{NO_BREAK}{surprise:.1f}", DIM), ("]", DIM)]
        done = max(done, word["end"])
    line.append((shown(text[done:], None), ""))
    return [(part, style) for part, style in line if part]


def _short(perplexity: float | None) -> str:
    if perplexity is None:
        return "-"
    if perplexity < 100_000:
        return f"{perplexity:.2f}"
    return f"{perplexity:.1e}"

"""Attention in a table: a heat map, a row for each token and a column for each it looks at.

In cross-attention of an encoder-decoder a row is the choice of the next target token, and is named by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bertcli.console.drawing import BOLD, DIM, grouped
from bertcli.records import Result
from bertcli.sinks.table.cells import NO_BREAK, Line, measured, padded, shown
from bertcli.sinks.table.page import Page
from bertcli.sinks.table.vectors import preview

LEVELS = " .:-=+*#%@"
COLORS = (233, 17, 54, 90, 126, 162, 203, 209, 215, 223)  # of the 256 of xterm: black, purple, red, cream
MOST_TOKENS = 64  # in a map on a terminal
TOKEN_CELLS = 14
TITLE_LINES = 8  # letters of a token over its column
FAVOURITE_CELLS = 22  # after a row
PARTS = ("query", "key", "value")
CAPTIONS = {"encoder": "encoder", "decoder": "decoder", "cross": "decoder to encoder"}


class Map(NamedTuple):
    """One layer and head: its weights (rows, columns) and what they are made from, (tokens, d) each."""

    caption: str
    weights: Any
    parts: Mapping[str, Any]


class HeatView:
    """Weights as shades, by their square root, so that small ones show; behind a row its largest weight."""

    separate = True

    def __init__(self, page: Page) -> None:
        self._page = page

    def header(self) -> list[Line]:
        return []

    def lines(self, result: Result) -> list[Line]:
        heading = self._page.heading(result)
        rows, columns = sides(result.values)
        lines = [heading] if heading else []
        if "translation" in result.values:
            lines.append([(shown(result.values["translation"], None), "")])
        for number, each in enumerate(maps(result.values)):
            lines += [[]] if number else []
            lines += self._map(each, rows, columns)
        return [*lines, *self._page.folded([], self._legend())]

    def _map(self, one: Map, rows: Sequence[str], columns: Sequence[str]) -> list[Line]:
        most = max(len(rows), len(columns)) if self._page.width is None else MOST_TOKENS
        cells, count = self._columns(min(len(columns), most))
        lines: list[Line] = [[(one.caption, BOLD)], *_titles(columns[:count], cells)]
        for name, row in zip(rows[:most], one.weights.tolist(), strict=False):
            shades = [_shade(_level(weight), cells) for weight in row[:count]]
            lines.append([(padded(name, TOKEN_CELLS), ""), *shades, *self._top(row, columns)])
        left_out = max(len(columns) - count, len(rows) - most)
        if left_out > 0:
            more = f"… {grouped(left_out)} more tokens; -o NAME.html shows them all"
            lines.append([(more, DIM)])
        for part, vectors in one.parts.items():
            lines.append([(part, BOLD)])
            for name, vector in zip((rows if part == PARTS[0] else columns)[:most], vectors, strict=False):
                lines.append([(padded(name, TOKEN_CELLS), ""), (preview(self._page, vector), "")])
        return lines

    def _columns(self, tokens: int) -> tuple[int, int]:
        """(cells of a column, columns): two cells where they fit, else one, else fewer columns."""
        if self._page.width is None:
            return 2, tokens
        space = max(8, self._page.width - TOKEN_CELLS - FAVOURITE_CELLS)
        return (2, tokens) if 2 * tokens <= space else (1, min(tokens, space))

    def _top(self, row: Sequence[float], names: Sequence[str]) -> Line:
        """What the token looks at most."""
        best = max(range(len(row)), key=row.__getitem__)
        return [(f"  {row[best]:.{self._page.decimals}f} ", DIM), (names[best], "")]

    def _legend(self) -> Line:
        """From which weight on a shade holds."""
        line: Line = [("≥", DIM)]
        for level in range(len(LEVELS)):
            least = f"{(level / len(LEVELS)) ** 2:.2f}"
            line += [(" ", ""), _shade(level, 1), (f"{NO_BREAK}{least.removeprefix('0')}", DIM)]
        return line


def sides(values: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The names of rows and columns."""
    part = values.get("part", "encoder")
    columns = _names([token["token"] for token in values["target_tokens" if part == "decoder" else "tokens"]])
    if part != "cross":
        return columns, columns
    return _names([f"→ {token['next']}" for token in values["target_tokens"]]), columns


def _names(tokens: Sequence[str]) -> list[str]:
    names = [shown(token, None) for token in tokens]
    if any(measured(name) != len(name) for name in names):  # wide letters would move the columns
        return [f"{number} {name}" for number, name in enumerate(names, 1)]
    return names


def maps(values: Mapping[str, Any]) -> Iterator[Map]:
    """The maps of a result, one or many, layer by layer and head by head."""
    weights, layer, head = values["attention"], values["layer"], values["head"]
    caption = f"{CAPTIONS[values['part']]}, " if "part" in values else ""
    parts = {name: values[name] for name in PARTS if name in values}
    layers = enumerate(weights, 1) if layer == "all" else [(layer, weights)]
    for number, of_layer in layers:
        place = number - 1 if layer == "all" else ...
        of_parts = {name: part[place] for name, part in parts.items()}
        if head != "all":
            yield Map(caption + _caption(number, head), of_layer, of_parts)
            continue
        for count, of_head in enumerate(of_layer):
            yield Map(
                caption + _caption(number, count + 1),
                of_head,
                {name: part[count] for name, part in of_parts.items()},
            )


def _caption(layer: int | str, head: int | str) -> str:
    if head == "rollout":
        return f"rollout through layers 1 to {layer}"
    of_layer = "mean of the layers" if layer == "mean" else f"layer {layer}"
    return f"{of_layer}, {'mean of the heads' if head == 'mean' else f'head {head}'}"


def _titles(names: Sequence[str], cells: int) -> list[Line]:
    """The names over their columns, from top to bottom; of those with a number only that."""
    letters = [name.split(" ")[0][:TITLE_LINES] for name in names]
    height = max(map(len, letters), default=0)
    rows = ("".join(name[line : line + 1].ljust(cells) for name in letters) for line in range(height))
    return [[(" " * TOKEN_CELLS + row, DIM)] for row in rows]


def _level(weight: float) -> int:
    return min(len(LEVELS) - 1, int(math.sqrt(weight) * len(LEVELS)))


def _shade(level: int, cells: int) -> tuple[str, str]:
    """A level as a letter, and on its colour where there are colours: the letter in the same colour."""
    return LEVELS[level] * cells, f"38;5;{COLORS[level]};48;5;{COLORS[level]}"

"""What the views of a table have in common: its width, its columns, and how texts and troubles are shown."""

from __future__ import annotations

from dataclasses import dataclass

from bertcli.console.drawing import CYAN, DIM, RED, grouped, meter
from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.table.cells import NO_BREAK, Line, folded, measured, padded, shown, truncated_to

ID_CELLS = 12
INDENT = "  "
NARROW = 70  # cells; below, bars are short
TROUBLE = f"{DIM};{RED}"


@dataclass(frozen=True, slots=True)
class Page:
    """`width` is in cells, None for lines of any length; `decimals` are those of scores."""

    layout: Layout
    width: int | None
    decimals: int

    @property
    def bar_cells(self) -> int:
        return 6 if self.width is not None and self.width < NARROW else 10

    @property
    def score_cells(self) -> int:
        """Width of a score with its bar and the gap behind them."""
        return len("0.") + self.decimals + 1 + self.bar_cells + 2

    def header(self, *columns: tuple[str, int]) -> list[Line]:
        """The names of the columns (name, cells); none where the text is not repeated."""
        if not self.layout.echo:
            return []
        titles = [*columns, (shown(self.layout.text_field, None), 0)]
        if self.layout.id_field is not None:
            titles = [(truncated_to(shown(self.layout.id_field, None), ID_CELLS), ID_CELLS + 2), *titles]
        return [[(name.ljust(cells), DIM) for name, cells in titles]]

    def id(self, result: Result) -> Line:
        """The id column, when there is one; cut on a terminal only."""
        if self.layout.id_field is None:
            return []
        value = result.record.fields.get(self.layout.id_field)
        text = "" if value is None else shown(str(value), self.width)
        text = text.ljust(ID_CELLS) if self.width is None else padded(text, ID_CELLS)
        return [(text, DIM), ("  ", "")]

    def text(self, result: Result) -> Line:
        """The text a record was asked for, with its pair; nothing where it is not repeated."""
        if not self.layout.echo:
            return []
        line = [(shown(result.record.text or "", self.width), "")]
        if result.record.pair is not None:
            line += [(" / ", DIM), (shown(result.record.pair, self.width), "")]
        return line

    def heading(self, result: Result) -> Line:
        """The line over the answers of a record; empty when there is nothing to say."""
        return [*self.id(result), *self.remarks(result), *self.text(result)]

    def folded(self, lead: Line, text: Line) -> list[Line]:
        """`lead` and `text` in as many lines as the width asks for, the later ones indented. Blanks that may
        not be cut at (NO_BREAK) become ordinary ones."""
        first, others = text, list[Line]()
        if self.width is not None:
            taken = sum(measured(part) for part, _ in lead)
            first, *others = folded(text, self.width - taken, self.width - len(INDENT))
        lines = [[*lead, *first], *([(INDENT, ""), *line] for line in others)]
        return [[(part.replace(NO_BREAK, " "), style) for part, style in line] for line in lines]

    def number(self, number: float | None) -> str:
        """A number that is no probability, without a bar."""
        return "-" if number is None else f"{number:.{self.decimals}f}"

    def score(self, score: float | None) -> Line:
        """A probability or cosine with its bar, `score_cells` wide; a negative one has no bar."""
        if score is None:
            return [(" " * self.score_cells, "")]
        number, bar = f"{score:.{self.decimals}f} ", meter(score, self.bar_cells)
        return [(number, ""), (bar, CYAN), (" " * (self.score_cells - len(number) - len(bar)), "")]

    def remarks(self, result: Result) -> Line:
        """`(3 windows, truncated)`: what must be said about an answer."""
        words = [f"{grouped(result.windows)} windows"] if result.windows > 1 else []
        if result.truncated:
            words.append("truncated")
        return [(f"({', '.join(words)})  ", DIM)] if words else []

    def trouble(self, result: Result) -> list[Line]:
        """The lines of a record without an answer; empty for a record that has one."""
        place = f"{result.record.where}: " if result.record.where else ""
        if result.problem is not None:
            message = shown(f"error  {place}{result.problem.message}", None)
            return self.folded(self.id(result), [(message, TROUBLE)])
        if result.status == "blank":
            return [[*self.id(result), (shown(f"blank  {place}".rstrip(": "), None), DIM)]]
        return []

    def fitted(self, text: str, share: int) -> str:
        """The text in at most one part in `share` of the width."""
        text = shown(text, self.width)
        return text if self.width is None else truncated_to(text, max(8, self.width // share))

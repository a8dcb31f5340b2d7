"""Lines of a report, and how they are shown: a page for a person, JSON lines for a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bertcli import console
from bertcli.requests import ReportFormat

Line = list[tuple[str, str]]  # pieces of text, each with its style (SGR parameters, empty for plain)

GAP = "  "


def show(
    rows: Iterable[Mapping[str, Any]], report_format: ReportFormat | None, page: Callable[[], Iterable[Line]]
) -> None:
    """Write `rows` as JSON lines, or the lines of `page`, to stdout, each as soon as it is there. Only one
    of the two is made."""
    stdout = console.claim_stdout()
    terminal = console.terminal(stdout)
    if report_format == "jsonl" or (report_format is None and not terminal.is_tty):
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    else:
        from bertcli.sinks.table.cells import rendered

        shown = ([(console.visible(text), style) for text, style in line] for line in page())
        if terminal.width is not None:
            cells = terminal.width
            shown = (part for line in shown for part in _wrapped(line, cells))
        lines = (rendered(line, terminal.width, color=terminal.color) for line in shown)
    for line in lines:
        stdout.write(f"{line}\n".encode("utf-8", "backslashreplace"))  # a path need not be UTF-8
        stdout.flush()  # a line may take long to be found


def _wrapped(line: Line, cells: int) -> Iterator[Line]:
    """A line that is too long continues in the next lines, indented."""
    from bertcli.sinks.table.cells import folded

    first, *others = folded(line, cells, cells - len(GAP))
    yield first
    for part in others:
        yield [(GAP, ""), *part]


def columns(rows: Sequence[Sequence[str]], styles: Sequence[str]) -> Iterable[Line]:
    """Rows of cells under each other, each column as wide as its widest cell, the last as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1:] = [0]
    for row in rows:
        yield [
            (cell.ljust(width) + GAP, style) for cell, width, style in zip(row, widths, styles, strict=True)
        ]

"""CSV and TSV: RFC 4180 with `\\n` line ends.

Null is an empty cell, true and false are spelled as in JSON, and what is nested is compact JSON in one cell. The header
has to be written before it is known whether a record fails or is cut: a file that is complete is written once more
without the columns of remarks that stayed empty; a pipe or a compressed file keeps them.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bertcli.errors import OutputError
from bertcli.journal import FileOutput, part_of
from bertcli.records import Result
from bertcli.sinks import REMARKS, Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.numbers import Numbers
from bertcli.sinks.text import TextSink

FORMULA = re.compile(
    r"[=+\-@\t\r]"
)  # how one begins, says https://owasp.org/www-community/attacks/CSV_Injection
SPECIAL = {delimiter: re.compile(f'["\r\n{delimiter}]') for delimiter in ",\t"}  # what is quoted
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class DelimitedSink(TextSink):
    """The header is the layout's columns; raises OutputError for a record with a field it lacks. `begun` says
    that the header is there already.

    `safe` puts an apostrophe before texts that spreadsheets would take for formulas.
    """

    def __init__(
        self,
        output: ByteSink,
        layout: Layout,
        digits: int | None,
        *,
        delimiter: str,
        safe: bool = False,
        begun: bool = False,
    ) -> None:
        super().__init__(output)
        self._prefix = layout.prefix
        self._columns = layout.columns
        self._known = frozenset(layout.columns)
        self._remarks = [layout.prefix + name for name in REMARKS if name in layout.extras]
        self._numbers = Numbers(digits)
        self._delimiter = delimiter
        self._safe = safe
        self._header_due = not begun

    def write(self, result: Result) -> None:
        row = self._numbers.row(result, self._prefix)
        self._numbers.watch(result)
        if not row.keys() <= self._known:
            raise self._unknown_field(row, result)
        line = self._line([row.get(name) for name in self._columns])
        self._output.write(self._header() + line)

    def close(self, complete: bool) -> None:
        if complete and isinstance(self._output, FileOutput):
            self._output.write(self._header())
            self._drop_empty(self._output)
        self._output.close(complete, self._header() if complete else b"")

    def _drop_empty(self, output: FileOutput) -> None:
        """Leave out the columns of remarks that no record has: the file may be an input again."""
        first = len(self._columns) - len(self._remarks)
        empty = set(range(first, len(self._columns)))

        def rows(path: Path) -> Iterator[list[str]]:
            with path.open(encoding="utf-8", newline="") as file:
                yield from csv.reader(file, delimiter=self._delimiter)

        def write(part: Path, target: Path) -> None:
            with target.open("w", encoding="utf-8", newline="") as file:
                for row in rows(part):
                    kept = [cell for place, cell in enumerate(row) if place not in empty]
                    file.write(joined_cells(kept, self._delimiter))

        output.sync()
        limit = csv.field_size_limit(sys.maxsize)  # one for the whole process
        try:
            for number, row in enumerate(rows(part_of(output.name))):
                if number:
                    empty = {place for place in empty if not row[place]}
                if not empty:
                    return
            output.rewrite(write)
        finally:
            csv.field_size_limit(limit)

    def _header(self) -> bytes:
        """The header the first time, then nothing."""
        if not self._header_due:
            return b""
        self._header_due = False
        return self._line(self._columns)

    def _line(self, values: Any) -> bytes:
        cells = [self._cell(value) for value in values]
        return joined_cells(cells, self._delimiter).encode("utf-8", "backslashreplace")

    def _cell(self, value: Any) -> str:
        if isinstance(value, str):
            text = "'" + value if self._safe and _is_formula(value) else value
        else:
            text = to_json(value).decode("utf-8")
            if text == "null":
                return ""
            if text.startswith('"'):  # a date of a parquet file
                text = text[1:-1]
        return text

    def _unknown_field(self, row: dict[str, Any], result: Result) -> OutputError:
        name = next(name for name in row if name not in self._known)
        return OutputError(
            f"field '{name}' is not in the header of {self._output.name}, which is the first record's fields",
            where=result.record.where or None,
            hint="write .jsonl, where every record has fields of its own",
        )


def joined_cells(cells: list[str], delimiter: str) -> str:
    """A line of cells, quoted where they need it."""
    if cells == [""]:
        return '""\n'  # an empty line would be read as no record
    special = SPECIAL[delimiter]
    return (
        delimiter.join(
            '"' + cell.replace('"', '""') + '"' if special.search(cell) else cell for cell in cells
        )
        + "\n"
    )


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute the text; -1.5 is only a number."""
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text) is None

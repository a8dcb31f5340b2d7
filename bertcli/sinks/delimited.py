"""CSV and TSV: RFC 4180 with `\\n` line ends.

Null is an empty cell, true and false are spelled as in JSON, and what is nested is compact JSON in one cell.
"""

from __future__ import annotations

import re
from typing import Any

from bertcli.errors import OutputError
from bertcli.journal import Mark
from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.numbers import Numbers

FORMULA = re.compile(
    r"[=+\-@\t\r]"
)  # how one begins, says https://owasp.org/www-community/attacks/CSV_Injection
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class DelimitedSink:
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
        self._output = output
        self._prefix = layout.prefix
        self._columns = layout.columns
        self._known = frozenset(layout.columns)
        self._numbers = Numbers(digits)
        self._delimiter = delimiter
        self._special = re.compile(f'["\r\n{delimiter}]')
        self._safe = safe
        self._header_due = not begun

    def write(self, result: Result) -> None:
        row = self._numbers.row(result, self._prefix)
        self._numbers.watch(result)
        if not row.keys() <= self._known:
            raise self._unknown_field(row, result)
        line = self._line([row.get(name) for name in self._columns])
        self._output.write(self._header() + line)

    def flush(self) -> None:
        self._output.flush()

    def mark(self) -> Mark | None:
        return self._output.mark()

    def sync(self) -> None:
        self._output.sync()

    def close(self, complete: bool) -> None:
        self._output.close(complete, self._header() if complete else b"")

    def _header(self) -> bytes:
        """The header the first time, then nothing."""
        if not self._header_due:
            return b""
        self._header_due = False
        return self._line(self._columns)

    def _line(self, values: Any) -> bytes:
        cells = [self._cell(value) for value in values]
        if cells == [""]:
            cells = ['""']  # an empty line would be read as no record
        return (self._delimiter.join(cells) + "\n").encode("utf-8", "backslashreplace")

    def _cell(self, value: Any) -> str:
        if isinstance(value, str):
            text = "'" + value if self._safe and _is_formula(value) else value
        else:
            text = to_json(value).decode("utf-8")
            if text == "null":
                return ""
            if text.startswith('"'):  # a date of a parquet file
                text = text[1:-1]
        if self._special.search(text):
            return '"' + text.replace('"', '""') + '"'
        return text

    def _unknown_field(self, row: dict[str, Any], result: Result) -> OutputError:
        name = next(name for name in row if name not in self._known)
        return OutputError(
            f"field '{name}' is not in the header of {self._output.name}, which is the first record's fields",
            where=result.record.where or None,
            hint="write .jsonl, where every record has fields of its own",
        )


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet would compute the text; -1.5 is only a number."""
    return FORMULA.match(text) is not None and NUMBER.fullmatch(text) is None

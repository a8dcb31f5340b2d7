"""CSV and TSV: a header, then a record a row; a quoted cell may continue over several lines.

Whether a quote is CSV syntax or plain text is not said anywhere, so it is decided row by row (`--quoting auto`): a
row is read as CSV where its quotes open and close cells as CSV wants it, else with backslashes before quotes, else as
plain text. Rows are never joined where that would need a guess: a row that fits nowhere is a record with a problem.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from bertcli import console
from bertcli.errors import InputError, quoted
from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big, undecodable
from bertcli.sources.lines import split_lines

Quoting = Literal["auto", "csv", "none"]

_QUOTED = re.compile('"[^"]*"?')
_NAMED = re.compile(r"sep=(.)\s*")  # a first line that gives Excel the delimiter
_NUMBER = re.compile(r"\s*[-+]?\d+([.,]\d+)?\s*")
MANY_LINES = 100  # of one cell: few texts have as many
LONG_NAME = 60  # characters that no field name has


def read_delimited(
    blocks: Iterator[bytes],
    *,
    delimiter: str,
    encoding: str,
    most: int,
    label: str = "-",
    quoting: Quoting = "auto",
    header: bool = True,
    given: bool = False,
    skipped: int = 0,
) -> Contents:
    """Rows of `blocks` (see `whole_lines`) as fields named by the header; every cell is a string.

    A CSV file whose header has no comma between names is read with the semicolon, tab or bar it has instead, as
    Excel writes it in many countries, and one that begins with a line `sep=;` with the delimiter it names, unless
    the delimiter was `given`. Without `header` the fields are `column_1`, `column_2` and so on. Empty lines are no
    records, but are counted. A row with too many or too few cells, an unclosed quote or undecodable bytes is a
    record with a problem and the cells that could be saved; one of more than `most` bytes has none. What may have
    been read wrongly is reported once, with the line; `label` names the input. `skipped` lines of it are left out
    between the header and the rest. Raises InputError for a header that
    names a field twice or is not text.
    """
    lines = _Lines(blocks, encoding, most)
    first = _first_line(lines)
    if delimiter == "," and not given:
        bare = _QUOTED.sub("", first)  # a comma inside a quoted name divides nothing
        if named := _NAMED.fullmatch(first):
            delimiter, first = named[1], _first_line(lines)
        elif delimiter not in bare:
            delimiter = next((other for other in ";\t|" if other in bare), delimiter)
    if not first:
        return Contents(iter(()))
    lines.push_back([first])
    rows = _Rows(lines, delimiter, label, quoting, header=header)
    lines.count += skipped
    return Contents(rows.read(), names=rows.header, strings=rows.header)


def header_size(head: bytes, *, delimiter: str, given: bool) -> int | None:
    """The number of bytes up to the end of the header, if `head`, the beginning of a file, has all of it."""
    at = 0
    while end := head.find(b"\n", at) + 1:
        line = head[at:end].decode("utf-8-sig", "replace")
        at = end
        if line.strip() and (given or delimiter != "," or not _NAMED.fullmatch(line)):
            return at
    return None


def _first_line(lines: Iterator[str]) -> str:
    """The next line that is not blank; an empty string behind the last."""
    return next((line for line in lines if line.strip()), "")


class _TooBigError(Exception):
    """A record goes on beyond what one may have."""


class _Lines:
    """Decoded lines with their ends. `bad` holds the numbers and problems of undecodable lines until they are
    taken; `count` is the number of lines handed out, `record` those of the record that was begun last, `ended` says
    that there are no more. Raises _TooBigError for the line that makes a record larger than `most` bytes."""

    def __init__(self, blocks: Iterator[bytes], encoding: str, most: int) -> None:
        self.bad: deque[tuple[int, Problem]] = deque()
        self.count = 0
        self.ended = False
        self.record: list[str] = []
        self.most = most
        self._returned: deque[str] = deque()
        self._encoding = encoding
        self._lines = self._read(blocks)
        self._record_size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self.count += 1
        self.record.append(line)
        before, self._record_size = self._record_size, self._record_size + _size(line)
        if before and self._record_size > self.most:  # a record of one line has been measured already
            if line.count('"') % 2 == 0:
                self._skip_cell()
            raise _TooBigError
        return line

    def begin_record(self) -> None:
        self._record_size = 0
        self.record = []

    def push_back(self, lines: list[str]) -> None:
        """Hand out `lines`, the last ones, once more."""
        self._returned.extendleft(reversed(lines))
        self.count -= len(lines)
        self.ended = False
        self.begin_record()

    def _skip_cell(self) -> None:
        """A record of several lines is in the middle of a quoted cell: go on to the line that ends it."""
        while line := self._returned.popleft() if self._returned else next(self._lines, ""):
            self.count += 1
            if line.count('"') % 2:
                return

    def _read(self, blocks: Iterator[bytes]) -> Iterator[str]:
        for block in blocks:
            try:
                text = block.decode()
            except UnicodeDecodeError:
                self._note_bad(block)
                text = block.decode("utf-8", "surrogateescape")
            yield from io.StringIO(text, newline="\n")

    def _note_bad(self, block: bytes) -> None:
        for number, line in enumerate(split_lines(block), self.count + 1):
            if problem := undecodable(f"line {number}", line, self._encoding):
                self.bad.append((number, problem))

    def take_bad(self) -> Problem | None:
        """The first problem among the lines handed out since the last call."""
        first = None
        while self.bad and self.bad[0][0] <= self.count:
            _, problem = self.bad.popleft()
            first = first or problem
        return first


class _Rows:
    """The rows behind a header, which is read at once."""

    def __init__(self, lines: _Lines, delimiter: str, label: str, quoting: Quoting, *, header: bool) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._label = label
        self._quoting = quoting
        self._warned = False
        self._strict = self._reader(strict=True)
        self._escaped = self._reader(strict=True, doublequote=False, escapechar="\\")
        self._lenient = self._reader()
        self._plain = self._reader(quoting=csv.QUOTE_NONE)
        self._reading = self._reads[quoting]
        self._start = lines.count + 1
        with _long_cells():
            self.header = self._read_header() if header else self._numbered()

    def _reader(self, **dialect: Any) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=self._delimiter, **dialect)

    @property
    def _reads(self) -> dict[Quoting, Any]:
        """What reads the next row: its cells, and a problem or None. Raises StopIteration behind the last."""
        return {"auto": self._read_auto, "csv": self._read_csv, "none": self._read_plain}

    def _read_header(self) -> tuple[str, ...]:
        where = f"line {self._start}"
        try:
            header = tuple(next(self._plain if self._quoting == "none" else self._lenient))
        except csv.Error as error:
            raise InputError(
                f"the header in {where} cannot be read: {_reason(error)}",
                hint="check that the file is CSV or TSV, or name its format by --from",
            ) from error
        except _TooBigError:
            raise InputError(too_big(f"the header in {where}", self._lines.most).message) from None
        if self._lines.ended:
            raise InputError(
                f"the header in {where} has a quote that is never closed",
                hint="--quoting none reads quotes as text",
            )
        if problem := self._lines.take_bad():
            raise InputError(
                f"the header is not text: {problem.message}", hint="name the encoding by --encoding"
            )
        if odd := _looks_like_data(header):
            console.warn(
                f"{self._label}:{self._start}: the first line is taken as names of fields, and {odd} looks like"
                " data; --no-header reads it as a record"
            )
        twice = sorted(name for name, count in Counter(header).items() if count > 1)
        if twice:
            raise InputError(
                f"the header in {where} names a field more than once: {quoted(twice)}",
                hint="give every column a name of its own, or use --no-header if the file has no names",
            )
        return header

    def _numbered(self) -> tuple[str, ...]:
        """Names for the columns of the first row, which is a record."""
        try:
            cells = next(self._plain if self._quoting == "none" else self._lenient)
        except (csv.Error, _TooBigError):
            cells = [""]
        self._lines.push_back(self._lines.record)
        return tuple(f"column_{number}" for number in range(1, len(cells) + 1))

    def read(self) -> Iterator[Row]:
        with _long_cells():
            yield from self._read()

    def _read(self) -> Iterator[Row]:
        header, width, lines = self.header, len(self.header), self._lines
        while True:
            start = lines.count + 1
            lines.begin_record()
            try:
                cells, problem = self._reading()
            except StopIteration:
                return
            except _TooBigError:
                lines.take_bad()
                yield start, {}, too_big(f"the record of line {start}", lines.most)
                continue
            except csv.Error as error:
                lines.take_bad()
                yield start, {}, Problem("csv", f"line {start} cannot be read: {_reason(error)}")
                continue
            if problem is None and len(cells) == width and not lines.bad:
                yield start, dict(zip(header, cells, strict=True)), None
            elif cells:
                yield start, *self._save(cells, problem, start)

    def _read_csv(self) -> tuple[list[str], Problem | None]:
        """Every quote that opens a cell is syntax."""
        cells = next(self._lenient)
        return cells, self._unclosed() if self._lines.ended else None

    def _read_plain(self) -> tuple[list[str], Problem | None]:
        """No quote is syntax."""
        return next(self._plain), None

    def _read_auto(self) -> tuple[list[str], Problem | None]:
        """The row as CSV where it is sound, else in the first of the other ways that gives it all its cells."""
        lines, width = self._lines, len(self.header)
        sound = self._attempt(self._strict)
        if sound is not None and (not sound or (len(sound) == width and self._accepts(lines.record))):
            return sound, None
        first, count, unclosed = lines.record[0], len(lines.record), lines.ended
        if '\\"' in first:
            lines.push_back(lines.record)
            cells = self._attempt(self._escaped)
            if cells is not None and len(cells) == width:
                return cells, None
        if '"' not in first:  # too many or too few cells, and no quote is to blame
            return sound or [], None
        lines.push_back(lines.record)
        plain = next(self._plain)
        if len(plain) == width:
            if count > 1:
                self._warn(
                    "a quote opens a cell and closes none: it is read as text; --quoting csv joins lines"
                )
            return plain, None
        if sound is not None and count > 1:
            lines.push_back(lines.record)
            return next(self._strict), None
        if count > 1 or unclosed:
            return plain, self._unclosed()
        lines.push_back(lines.record)
        return next(self._lenient), None

    def _attempt(self, reader: Iterator[list[str]]) -> list[str] | None:
        """The cells of the next row; None where a dialect does not fit. Raises StopIteration behind the last."""
        try:
            return next(reader)
        except csv.Error as error:
            if '"' in "".join(self._lines.record[:1]):
                return None
            raise error

    def _accepts(self, lines: list[str]) -> bool:
        """Whether a sound row may be as many lines; where that is doubtful, it is reported."""
        if len(lines) == 1:
            return True
        ends = len(self.header) - 1
        rows_alike = ends > 0 and all(line.count(self._delimiter) == ends for line in lines)
        if rows_alike and self._delimiter == "\t":
            return False
        if rows_alike or not ends or len(lines) > MANY_LINES:
            self._warn(f"a quoted cell has {len(lines)} lines; if the quotes are text, use --quoting none")
        return True

    def _warn(self, message: str) -> None:
        """Report once an input what may have been read wrongly."""
        if not self._warned:
            self._warned = True
            start = self._lines.count - len(self._lines.record) + 1
            console.warn(f"{self._label}:{start}: {message}")

    def _unclosed(self) -> Problem:
        start = self._lines.count - len(self._lines.record) + 1
        return Problem("csv", f"a quote opened in the record of line {start} is never closed")

    def _save(
        self, cells: list[str], problem: Problem | None, start: int
    ) -> tuple[dict[str, str], Problem | None]:
        """The cells of a row that may have a problem: those that have a name and are text."""
        bad = self._lines.take_bad()
        fields = dict(zip(self.header, cells, strict=False))
        if bad:
            return {name: cell for name, cell in fields.items() if _is_text(cell)}, bad
        if problem is None and len(cells) != len(self.header):
            noun = "cell" if len(cells) == 1 else "cells"
            message = f"line {start} has {len(cells)} {noun}, but the header has {len(self.header)}"
            problem = Problem("csv", message)
        return fields, problem


def _looks_like_data(header: tuple[str, ...]) -> str | None:
    """The first name of a header that is hardly one, quoted; None where all may be names."""
    for name in header:
        alone = len(header) == 1 and " " in name.strip()
        if alone or _NUMBER.fullmatch(name) or len(name) > LONG_NAME:
            return quoted([name if len(name) <= LONG_NAME else name[:LONG_NAME] + "…"])
    return None


def _reason(error: csv.Error) -> str:
    """The csv module's reason; that of a lone carriage return, made for programmers, in other words."""
    if "new-line character" in str(error):
        return (
            "it has a carriage return that ends no line; save the file with line feeds at the ends of lines"
        )
    return str(error)


@contextmanager
def _long_cells() -> Iterator[None]:
    """Lift the csv module's limit on the length of a cell, which is one for the whole process, meanwhile."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _size(line: str) -> int:
    """Bytes of the line in UTF-8."""
    return len(line) if line.isascii() else len(line.encode("utf-8", "surrogateescape"))


def _is_text(cell: str) -> bool:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return False
    return True

"""CSV and TSV: a header, then a record a row; a quoted cell may go on over several lines."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from bertcli.errors import InputError, quoted
from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big, undecodable
from bertcli.sources.lines import split_lines

_QUOTED = re.compile('"[^"]*"?')
_NAMED = re.compile(r"sep=(.)\s*")  # a first line with which Excel is told the delimiter


def read_delimited(blocks: Iterator[bytes], *, delimiter: str, encoding: str, most: int) -> Contents:
    """Rows of `blocks` (see `whole_lines`) as fields named by the header; every cell is a string.

    A CSV file whose header has no comma between names is read with the semicolon or tab it has instead, as
    Excel writes it in many countries, and one that begins with a line `sep=;` with what stands there. Empty
    lines are no records, but are counted. A row with too many or too few cells, an unclosed quote or
    undecodable bytes is a record with a problem and the cells that could be saved; one of more than `most`
    bytes has none. Raises InputError for a header that names a field twice or is not text.
    """
    lines = _Lines(blocks, encoding, most)
    first = _first_line(lines)
    if delimiter == ",":
        bare = _QUOTED.sub("", first)  # a comma inside a quoted name divides nothing
        if named := _NAMED.fullmatch(first):
            delimiter, first = named[1], _first_line(lines)
        elif delimiter not in bare:
            delimiter = next((other for other in ";\t" if other in bare), delimiter)
    if not first:
        return Contents(iter(()))
    rows = _Rows(lines, first, delimiter)
    return Contents(rows.read(), names=rows.header, strings=rows.header)


def _first_line(lines: Iterator[str]) -> str:
    """The next line that is not blank; an empty string behind the last."""
    return next((line for line in lines if line.strip()), "")


class _TooBigError(Exception):
    """A record goes on beyond what one may have."""


class _Lines:
    """Decoded lines with their ends. `bad` holds the numbers and problems of undecodable lines until they are
    taken; `count` is the number of lines handed out, `ended` says that there are no more. Raises _TooBigError
    for the line that makes a record larger than `most` bytes."""

    def __init__(self, blocks: Iterator[bytes], encoding: str, most: int) -> None:
        self.bad: deque[tuple[int, Problem]] = deque()
        self.count = 0
        self.ended = False
        self.most = most
        self._encoding = encoding
        self._lines = self._read(blocks)
        self._record_size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.count += 1
        before, self._record_size = self._record_size, self._record_size + _size(line)
        if before and self._record_size > self.most:  # a record of one line has been measured already
            if line.count('"') % 2 == 0:
                self._skip_cell()
            raise _TooBigError
        return line

    def begin_record(self) -> None:
        self._record_size = 0

    def _skip_cell(self) -> None:
        """A record of several lines is in the middle of a quoted cell: go on to the line that ends it."""
        for line in self._lines:
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
        self.ended = True

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

    def __init__(self, lines: _Lines, first: str, delimiter: str) -> None:
        self._lines = lines
        self._start = lines.count
        self._reader = csv.reader(chain([first], lines), delimiter=delimiter)
        with _long_cells():
            self.header = self._read_header()

    def _read_header(self) -> tuple[str, ...]:
        where = f"line {self._start}"
        try:
            header = tuple(next(self._reader))
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
                hint="close the quote, or name the format by --from",
            )
        if problem := self._lines.take_bad():
            raise InputError(
                f"the header is not text: {problem.message}", hint="name the file's encoding by --encoding"
            )
        twice = sorted(name for name, count in Counter(header).items() if count > 1)
        if twice:
            raise InputError(
                f"the header in {where} names a field more than once: {quoted(twice)}",
                hint="give every column a name of its own",
            )
        return header

    def read(self) -> Iterator[Row]:
        with _long_cells():
            yield from self._read()

    def _read(self) -> Iterator[Row]:
        header, width = self.header, len(self.header)
        lines, reader = self._lines, self._reader
        while True:
            start = lines.count + 1
            lines.begin_record()
            try:
                cells = next(reader)
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
            if len(cells) == width and not lines.bad and not lines.ended:
                yield start, dict(zip(header, cells, strict=True)), None
            elif cells:
                yield start, *self._save(cells, start)

    def _save(self, cells: list[str], start: int) -> tuple[dict[str, str], Problem | None]:
        """The cells of a row that may have a problem: those that have a name and are text."""
        problem = self._lines.take_bad()
        fields = dict(zip(self.header, cells, strict=False))
        if problem:
            fields = {name: cell for name, cell in fields.items() if _is_text(cell)}
        elif self._lines.ended:  # the reader looked for more lines in the middle of a row
            problem = Problem("csv", f"a quote opened in the record of line {start} is never closed")
        elif len(cells) != len(self.header):
            noun = "cell" if len(cells) == 1 else "cells"
            message = f"line {start} has {len(cells)} {noun}, but the header has {len(self.header)}"
            problem = Problem("csv", message)
        return fields, problem


def _reason(error: csv.Error) -> str:
    """The csv module's reason; that of a lone carriage return, made for programmers, in other words."""
    if "new-line character" in str(error):
        return "it has a carriage return that ends no line; `tr '\\r' '\\n'` makes it one"
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

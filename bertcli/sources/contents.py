"""The contents of one input: the names of its fields, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from bertcli.errors import BertcliError
from bertcli.records import Problem

Row: TypeAlias = tuple[int, dict[str, Any], Problem | None]
"""Line of the input the row begins on (from 1; 0 for an input that is one record), fields, what is wrong."""

MOST_PEEKED = 100


@dataclass(slots=True)
class Contents:
    """Rows, read once and lazily. `names` are the fields of the first row and `strings` those of them that
    hold strings; both are None as long as only the rows themselves show it. `count` is the number of rows, and
    `rows_from` gives those from a number on without reading those before, where the format has an index."""

    rows: Iterator[Row]
    names: tuple[str, ...] | None = None
    strings: tuple[str, ...] = ()
    count: int | None = None
    rows_from: Callable[[int], Iterator[Row]] | None = None

    def skip(self, most: int) -> int:
        """Pass over `most` rows, or all of them if there are fewer, by the index alone; 0 without one."""
        if self.count is None or self.rows_from is None:
            return 0
        passed = min(most, self.count)
        self.rows = self.rows_from(passed)
        return passed

    def peek(self) -> None:
        """Learn `names` from the first row that can be read, without losing a row.

        Rows with a problem show nothing and are skipped, MOST_PEEKED of them at most. An error after
        the first row waits for its turn.
        """
        if self.names is not None:
            return
        ahead: list[Row] = []
        try:
            for row in self.rows:
                ahead.append(row)
                _, fields, problem = row
                if problem is None:
                    self.names = tuple(fields)
                    self.strings = tuple(name for name, value in fields.items() if isinstance(value, str))
                if problem is None or len(ahead) == MOST_PEEKED:
                    break
        except BertcliError as error:
            if not ahead:
                raise
            self.rows = chain(ahead, _raise_later(error))
        else:
            self.rows = chain(ahead, self.rows)


def _raise_later(error: BertcliError) -> Iterator[Row]:
    raise error
    yield


def look(chunks: Iterator[bytes], undecided: Callable[[bytes], bool]) -> tuple[bytes, Iterator[bytes]]:
    """Read on while `undecided` about the bytes so far: these, and all chunks as if nothing had been read."""
    head = b""
    while undecided(head) and (chunk := next(chunks, b"")):
        head += chunk
    return head, _put_back(head, chunks)


def _put_back(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from chunks

"""How the tests of this folder read: everything a source has to say about some bytes, in plain tuples."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from bertcli.errors import InputError
from bertcli.records import Record
from bertcli.requests import InputOptions
from bertcli.sources import Source, open_source


class Dribble(io.RawIOBase):
    """A stream that hands out its content in pieces of the given sizes (the last one again and again)."""

    def __init__(self, content: bytes, sizes: Iterable[int] = (1,)) -> None:
        self._content = io.BytesIO(content)
        self._sizes = iter(sizes)
        self._size = 1

    def read(self, size: int = -1, /) -> bytes:
        self._size = next(self._sizes, self._size)
        return self._content.read(self._size)


def read(*files: str | Path, stdin: bytes | BinaryIO = b"", **options: Any) -> list[Record]:
    """All records of a run over `files`, or over `stdin` when there are none."""
    stream = io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin
    given = InputOptions(files=tuple(map(str, files)), **options)
    source = open_source(given, stdin=stream, interactive=False)
    try:
        return list(source)
    finally:
        source.close()


def texts(records: Iterable[Record]) -> list[str | None]:
    return [record.text for record in records]


def problems(records: Iterable[Record]) -> list[str | None]:
    return [record.problem and record.problem.type for record in records]


def content(records: Iterable[Record]) -> list[tuple[Any, ...]]:
    """What a record says, without the name of the file it came from."""
    return [
        (r.index, list(r.fields.items()), r.text, r.pair, r.where.rpartition(":")[2], r.problem)
        for r in records
    ]


def read_until_error(source: Source) -> tuple[list[Record], InputError]:
    """The records of a damaged input, and the error that ends them."""
    records: list[Record] = []
    try:
        records.extend(source)
    except InputError as error:
        return records, error
    finally:
        source.close()
    raise AssertionError("the damage went unnoticed")

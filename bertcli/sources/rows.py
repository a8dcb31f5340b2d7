"""The rows of one file as they are, whether or not a text is among their fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bertcli.errors import InputError
from bertcli.sources.fields import PlacedRow
from bertcli.sources.formats import check_formats, open_contents
from bertcli.sources.opening import file_input

if TYPE_CHECKING:
    from bertcli.requests import InputOptions


def read_rows(path: str, options: InputOptions) -> Iterator[PlacedRow]:
    """`file:line`, fields and problem of each row. Raises InputError where the file cannot be read."""
    check_formats(options)
    source = file_input(path)
    where = source.label
    try:
        for line, fields, problem in open_contents(source, options).rows:
            where = f"{source.label}:{line}" if line else source.label
            yield where, fields, problem
    except InputError as error:  # the damage lies behind the last row
        error.where = error.where or where
        raise
    finally:
        source.close()

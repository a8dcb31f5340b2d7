"""Parts of files whose records are lines (below a header), read without reading what is before them.

A line belongs to the part that has its first byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from bertcli.sources.opening import Input
from bertcli.storage import open_file

BLOCK = 1 << 20  # bytes read at a time


def divide(sources: Sequence[Input], first: int, last: int, end: bytes) -> list[Input]:
    """The parts of files that have the lines of bytes `first` to `last` (exclusive) of all files together. `end` ends
    a line."""
    parts = []
    offset = 0
    for source in sources:
        size = source.size or 0
        begin, stop = max(0, first - offset), min(size, last - offset)
        offset += size
        if begin >= stop:
            continue
        assert source.regular is not None
        with open_file(source.regular) as file:
            source.begin = _line_at(file, begin, end, size)
            source.size = _line_at(file, stop, end, size) - source.begin
        if source.size:
            parts.append(source)
    return parts


def count_lines(source: Input, end: bytes) -> int:
    """The number of lines before a part."""
    assert source.regular is not None
    count, left = 0, source.begin or 0
    with open_file(source.regular) as file:
        while left and (data := file.read(min(BLOCK, left))):
            left -= len(data)
            count += data.count(end)
    return count


def has_byte(file: BinaryIO, byte: bytes) -> bool:
    """Whether a byte is anywhere in a file."""
    file.seek(0)
    while data := file.read(BLOCK):
        if byte in data:
            return True
    return False


def _line_at(file: BinaryIO, offset: int, end: bytes, size: int) -> int:
    """Where the first line begins that does not begin before `offset`; the size of the file behind the last line."""
    if offset == 0 or offset >= size:
        return min(offset, size)
    at = offset - 1
    file.seek(at)
    while data := file.read(BLOCK):
        if (found := data.find(end)) >= 0:
            return at + found + 1
        at += len(data)
    return size

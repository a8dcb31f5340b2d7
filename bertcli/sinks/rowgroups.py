"""Parquet, a row group at a time: a file that can be resumed behind each of its groups.

A Parquet file is "PAR1", row groups, a footer that says where they are, its length, "PAR1" again. pyarrow
knows the footer only at its end, and cannot go on with a file. So each group is written as a small file of
its own, in memory, and what its footer says of it is moved to its place in the large one. The bytes are those
that pyarrow would have written in one go.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from bertcli.sinks.thrift import I16, I64, STRUCT, Struct, read_struct, write_struct

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"

# Field numbers of https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
FILE_ROWS, FILE_GROUPS = 3, 4
GROUP_COLUMNS, GROUP_ROWS, GROUP_OFFSET, GROUP_ORDINAL = 1, 3, 5, 7
COLUMN_OFFSET, COLUMN_METADATA = 2, 3
PAGE_OFFSETS = (9, 10, 11)  # of data, of an index, of a dictionary


def pack_group(table: pa.Table, offset: int, number: int) -> tuple[bytes, bytes]:
    """The bytes of row group `number` of a file, in which they begin at `offset`, and what a footer says of
    them."""
    data, footer = _write(table)
    _, (group,) = footer[FILE_GROUPS][1]
    move = offset - len(MAGIC)
    _shift(group, (GROUP_OFFSET,), move)
    for column in group[GROUP_COLUMNS][1][1]:
        if column.get(COLUMN_OFFSET, (I64, 0))[1]:  # which newer writers leave at 0
            _shift(column, (COLUMN_OFFSET,), move)
        _shift(column[COLUMN_METADATA][1], PAGE_OFFSETS, move)
    if GROUP_ORDINAL in group:
        group[GROUP_ORDINAL] = (I16, number)
    return data, write_struct(group)


def count_rows(group: bytes) -> int:
    """How many rows a row group has, by what a footer says of it."""
    rows: int = read_struct(group)[GROUP_ROWS][1]
    return rows


def pack_footer(schema: pa.Schema, groups: list[bytes]) -> bytes:
    """The end of a file of these row groups."""
    _, footer = _write(schema.empty_table())
    told = [read_struct(group) for group in groups]
    footer[FILE_ROWS] = (I64, sum(group[GROUP_ROWS][1] for group in told))
    kind, _ = footer[FILE_GROUPS]
    footer[FILE_GROUPS] = (kind, (STRUCT, told))
    data = write_struct(footer)
    return data + len(data).to_bytes(4, "little") + MAGIC


def _write(table: pa.Table) -> tuple[bytes, Struct]:
    """A file of one row group (of none without rows): what is between its "PAR1" and its footer, and that."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    file = io.BytesIO()
    with pq.ParquetWriter(file, table.schema, compression="zstd", use_dictionary=texts) as writer:
        if table.num_rows:
            writer.write_table(table)
    whole = file.getbuffer()
    end = len(whole) - 8
    start = end - int.from_bytes(whole[end : end + 4], "little")
    return bytes(whole[len(MAGIC) : start]), read_struct(bytes(whole[start:end]))


def _shift(struct: Struct, fields: tuple[int, ...], by: int) -> None:
    for field in fields:
        if field in struct:
            kind, value = struct[field]
            struct[field] = (kind, value + by)

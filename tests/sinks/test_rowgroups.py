"""Row groups put together one by one are the file that pyarrow writes in one go."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.sinks.rowgroups import MAGIC, pack_footer, pack_group
from bertcli.sinks.thrift import I64, LIST, STRUCT, read_struct, write_struct

SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("vector", pa.list_(pa.float32(), 4)),
        ("error", pa.struct([("type", pa.string()), ("message", pa.string())])),
        ("labels", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))),
        ("truncated", pa.bool_()),
        ("score", pa.float64()),
    ]
)


def table(group: int, rows: int) -> pa.Table:
    def row(number: int) -> dict[str, object]:
        return {
            "text": f"text {group} {number % 7}",
            "vector": None if number % 3 == 0 else [float(number)] * 4,
            "error": None if number % 5 else {"type": "engine", "message": "no"},
            "labels": [{"label": "a", "score": 1 / (number + 1)}] * (number % 3),
            "truncated": bool(number % 2) or None,
            "score": number / 3,
        }

    return pa.Table.from_pylist([row(number) for number in range(rows)], schema=SCHEMA)


def in_one_go(sizes: list[int]) -> bytes:
    file = io.BytesIO()
    with pq.ParquetWriter(file, SCHEMA, compression="zstd", use_dictionary=["text"]) as writer:
        for group, rows in enumerate(sizes):
            writer.write_table(table(group, rows))
    return file.getvalue()


@pytest.mark.parametrize("sizes", [[], [1], [3, 1, 500], [2] * 130], ids=len)
def test_groups_put_together_are_the_file_that_pyarrow_writes(sizes: list[int]) -> None:
    file = bytearray(MAGIC)
    groups = []
    for number, rows in enumerate(sizes):
        data, group = pack_group(table(number, rows), len(file), number)
        file += data
        groups.append(group)
    file += pack_footer(SCHEMA, groups)
    assert bytes(file) == in_one_go(sizes)
    assert pq.read_table(io.BytesIO(bytes(file))).num_rows == sum(sizes)


VALUES = st.one_of(
    st.tuples(st.just(I64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(8), st.binary(max_size=200)),
    st.tuples(st.sampled_from([1, 2]), st.none()),
    st.tuples(st.just(LIST), st.tuples(st.just(I64), st.lists(st.integers(-9, 9), max_size=20))),
)
STRUCTS = st.recursive(
    st.dictionaries(st.integers(1, 300), VALUES, max_size=4),
    lambda below: st.dictionaries(st.integers(1, 300), st.tuples(st.just(STRUCT), below), max_size=3),
    max_leaves=6,
)


@given(STRUCTS)
def test_a_struct_that_is_written_is_read_again(struct) -> None:
    assert read_struct(write_struct(struct)) == struct

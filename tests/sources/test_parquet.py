"""Parquet: types, damage, pipes."""

from __future__ import annotations

import datetime
import gzip
import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from bertcli.errors import InputError
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from tests.sources.reading import Dribble, content, problems, read, read_until_error, texts


def write(columns: dict[str, Any], **options: Any) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file, **options)
    return file.getvalue()


def test_a_file_a_pipe_and_a_compressed_file_give_the_same(tmp_path: Path) -> None:
    data = write({"id": list(range(3000)), "text": [f"t{n}" for n in range(3000)]}, row_group_size=700)
    named, nameless, packed = (tmp_path / name for name in ("a.parquet", "b", "c.parquet.gz"))
    named.write_bytes(data)
    nameless.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    expected = content(read(named))
    assert [row[2] for row in expected] == [f"t{n}" for n in range(3000)]
    assert expected[-1][1] == [("id", 2999), ("text", "t2999")]
    for other in (read(nameless), read(packed), read(stdin=data), read(stdin=Dribble(data))):
        assert content(other) == expected


def test_position_reaches_size(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(write({"text": ["a"] * 5000}))
    source = open_source(InputOptions(files=(str(file),)))
    positions = [source.position for _ in source]
    assert positions == sorted(positions)
    assert source.position == source.size
    source.close()


def test_the_only_string_column_is_the_text_even_when_its_first_value_is_null() -> None:
    data = write({"n": [1, 2], "body": pyarrow.array([None, "t"]).dictionary_encode()})
    records = read(stdin=data)
    assert texts(records) == [None, "t"]
    assert records[0].blank


MOMENT = datetime.datetime(2024, 5, 1, 12, 30, 0, 5)
SINCE = 1_714_566_600_000_005_000  # nanoseconds from 1970 to this moment


def test_values_keep_their_types() -> None:
    moment = MOMENT
    columns = {
        "text": ["t"],
        "moment": pyarrow.array([moment], pyarrow.timestamp("ns")),
        "exact": pyarrow.array([1], pyarrow.timestamp("ns")),
        "deep": pyarrow.array(
            [{"at": [moment]}], pyarrow.struct([("at", pyarrow.list_(pyarrow.timestamp("ns")))])
        ),
        "price": [Decimal("1.50")],
        "bytes": [b"\xff"],
        "list": [[1, None]],
        "flag": [True],
        "none": pyarrow.nulls(1),
    }
    assert dict(read(stdin=write(columns))[0].fields) == {
        "text": "t",
        "moment": moment,
        "exact": "1970-01-01T00:00:00.000000001",
        "deep": {"at": [moment]},
        "price": Decimal("1.50"),
        "bytes": b"\xff",
        "list": [1, None],
        "flag": True,
        "none": None,
    }


TIMES = [
    (pyarrow.timestamp("ns"), SINCE, MOMENT, "2024-05-01T12:30:00.000005001"),
    (pyarrow.timestamp("ns"), -1_000, datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999),
     "1969-12-31T23:59:59.999999001"),
    (pyarrow.timestamp("ns", "+02:00"), SINCE, MOMENT.replace(tzinfo=datetime.UTC),
     "2024-05-01T14:30:00.000005001+02:00"),
    (pyarrow.time64("ns"), 45_000_000_005_000, MOMENT.time(), "12:30:00.000005001"),
    (pyarrow.duration("ns"), 86_400_000_005_000, datetime.timedelta(days=1, microseconds=5),
     "1 day, 0:00:00.000005001"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "count", "value", "text"), TIMES, ids=lambda given: str(given))
def test_a_column_of_times_is_text_as_a_whole_where_one_needs_nanoseconds(
    kind: pyarrow.DataType, count: int, value: Any, text: str
) -> None:
    for last, expected in ((count, value), (count + 1, text)):
        counts = [*[count] * 3000, last, None]
        data = write({"text": ["t"] * 3002, "at": pyarrow.array(counts, kind)}, row_group_size=2000)
        values = [dict(record.fields)["at"] for record in read(stdin=data)]
        assert values[-2:] == [expected, None]
        assert {type(value) for value in values[:-1]} == {type(expected)}


NESTED = [
    (pyarrow.list_, list),
    (pyarrow.large_list, list),
    (lambda kind: pyarrow.list_(kind, 1), list),
    (lambda kind: pyarrow.map_(pyarrow.string(), kind), lambda values: [("a", value) for value in values]),
    (lambda kind: pyarrow.map_(kind, pyarrow.string()), lambda values: [(value, "a") for value in values]),
    (lambda kind: pyarrow.large_list(pyarrow.struct([("at", pyarrow.list_(kind, 1))])),
     lambda values: [{"at": values}]),
]  # fmt: skip


@pytest.mark.parametrize(("nest", "put"), NESTED)
@pytest.mark.parametrize(("more", "value"), [(0, MOMENT), (1, "2024-05-01T12:30:00.000005001")])
def test_nanoseconds_are_found_however_deep(nest: Any, put: Any, more: int, value: Any) -> None:
    column = pyarrow.array([put([SINCE + more]), None], nest(pyarrow.timestamp("ns")))
    records = read(stdin=write({"text": ["t", "t"], "deep": column}))
    assert [dict(record.fields)["deep"] for record in records] == [put([value]), None]


def test_a_text_that_is_binary_is_a_field_problem() -> None:
    records = read(stdin=write({"text": [b"abc"]}))
    assert problems(records) == ["field"]


def test_an_empty_table_has_names_and_no_records(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(write({"id": pyarrow.array([], "int64"), "text": pyarrow.array([], "string")}))
    source = open_source(InputOptions(files=(str(file),)))
    assert source.field_names == ("id", "text")
    assert list(source) == []
    source.close()


@pytest.mark.parametrize("data", [b"", b"no parquet", b"PAR1\x15 cut"])
def test_what_is_not_parquet_is_an_input_error(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    file.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as Parquet") as caught:
        read(file)
    assert caught.value.where == str(file)
    assert "\n" not in caught.value.message


def test_damage_in_the_middle_gives_what_came_before_and_then_an_error(tmp_path: Path) -> None:
    values = [str(n * 7919 % 100_003) * 9 for n in range(40_000)]
    data = bytearray(write({"text": values}, row_group_size=10_000, compression="gzip", use_dictionary=False))
    data[len(data) * 3 // 4 : len(data) * 3 // 4 + 200] = b"\xff" * 200
    file = tmp_path / "a.parquet"
    file.write_bytes(data)
    source = open_source(InputOptions(files=(str(file),)))
    records, error = read_until_error(source)
    assert "cannot be read on" in error.message
    assert len(records) >= 20_000
    assert texts(records) == values[: len(records)]


@pytest.mark.parametrize("kind", [pyarrow.timestamp("s"), pyarrow.duration("s")], ids=str)
def test_a_time_that_python_has_not_is_told(kind: pyarrow.DataType) -> None:
    with pytest.raises(InputError, match="cannot be read on"):
        read(stdin=write({"text": ["t"], "at": pyarrow.array([10**15], kind)}))


def test_columns_of_one_name_are_refused() -> None:
    file = io.BytesIO()
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    parquet.write_table(table, file)
    with pytest.raises(InputError, match="same name: 'text'"):
        read(stdin=file.getvalue())


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = write({"text": ["a"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError) as caught:
        read(stdin=data)
    assert caught.value.hint == "pip install 'bertcli[parquet]'"

"""Parquet: types from the first row group, rows unchanged, clear words for what does not fit."""

from __future__ import annotations

import io
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bertcli.errors import OutputError
from bertcli.journal import Output
from bertcli.records import ExactNumber, Result
from bertcli.requests import OutputOptions
from bertcli.sinks import Layout, open_sink, parquet
from tests.sinks.writing import EMBED, PIPE, REMARKS, failed, result, to_bytes, to_file

TOKENS = Layout("embed", ("text",), ("tokens",), REMARKS, "text")


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows a group."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 3)


def written(tmp_path: Path, *arguments: Any, **options: Any) -> pa.Table:
    path = tmp_path / "a.parquet"
    path.unlink(missing_ok=True)
    to_file(path, *arguments, **options)
    return pq.read_table(path)


def finished(part: Path) -> pa.Table:
    """What an interrupted run left, with the columns that have values."""
    table = pa.ipc.open_stream(part.read_bytes()).read_all()
    return table.select([name for name in table.schema.names if table[name].null_count < len(table)])


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 7])
def test_row_groups_make_one_table(rows: int, tmp_path: Path) -> None:
    results = [result({"label": "a", "score": 1 / 3}, text=f"t{row}", windows=row + 1) for row in range(rows)]
    table = written(tmp_path, results)
    expected = [{"text": f"t{row}", "label": "a", "score": 1 / 3} for row in range(rows)]
    if rows > 1:  # columns of remarks that no record has are left out
        expected = [row | {"windows": number or None} for number, row in enumerate(expected)]
        for row in expected[1:]:
            row["windows"] += 1
    assert table.to_pylist() == expected


def test_digits_are_asked_for_and_leave_the_types(tmp_path: Path) -> None:
    vector = np.array([1 / 3, 2e-5 / 3, 0], np.float32)
    one = [result({"score": 2 / 3, "embedding": vector}, text="a")]
    layout = Layout("label", ("text",), ("score", "embedding"), REMARKS, "text")
    for digits, score, numbers in (
        (None, 2 / 3, vector),
        (3, 0.667, np.array([0.333, 6.67e-6, 0], np.float32)),
    ):
        table = written(tmp_path, one, layout, digits=digits)
        assert table["score"].to_pylist() == [score]
        assert table.schema.field("embedding").type.value_type == pa.float32()
        np.testing.assert_array_equal(table["embedding"].to_pylist()[0], numbers)


def test_digits_do_not_round_beyond_the_range_of_a_dtype(tmp_path: Path) -> None:
    vector = np.array([65504, -65504, 1.26], np.float16)
    table = written(tmp_path, [result({"embedding": vector})], EMBED, digits=2)
    assert table["embedding"].to_pylist() == [[65504, -65504, np.float16(1.3)]]


def test_a_hundred_thousand_columns_are_looked_up_and_not_searched(tmp_path: Path) -> None:
    names = tuple(map(str, range(100_000)))
    layout = Layout("label", names, ("label",), (), "0")
    began = time.process_time()
    sink = parquet.ParquetSink(Output(io.BytesIO(), "a"), layout)
    for _ in range(3):
        sink.write(result({"label": "a"}, fields=dict.fromkeys(names, "x")))
    assert time.process_time() - began < 5  # a search takes a minute


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.uint8])
def test_vectors_keep_their_dtype_and_length(dtype: Any, tmp_path: Path) -> None:
    vectors = [np.arange(4).astype(dtype) + row for row in range(3)]
    results = [result({"embedding": vector}) for vector in vectors]
    table = written(tmp_path, [failed(), *results, result({"embedding": None}, text="")], EMBED)
    kind = table.schema.field("embedding").type
    assert pa.types.is_fixed_size_list(kind)
    assert kind.list_size == 4
    assert kind.value_type == pa.from_numpy_dtype(dtype)
    rows = table.column("embedding").to_pylist()
    assert rows == [None, *(vector.tolist() for vector in vectors), None]


def test_nested_results_become_structs(tmp_path: Path) -> None:
    token = {"token": "a", "start": 0, "end": 1, "embedding": np.array([0.5, 2], np.float32)}
    table = written(tmp_path, [result({"tokens": []}), result({"tokens": [token, token]})], TOKENS)
    plain = {**token, "embedding": [0.5, 2.0]}
    assert table.column("tokens").to_pylist() == [[], [plain, plain]]
    inner = table.schema.field("tokens").type.value_type
    assert inner.field("embedding").type == pa.list_(pa.float32(), 2)
    assert inner.field("start").type == pa.int64()


def test_input_types_pass_through(tmp_path: Path) -> None:
    layout = Layout("label", ("n", "x", "on", "meta", "void", "text"), (), (), "text")
    fields = {"n": 1, "x": 2.5, "on": True, "meta": {"a": [1, 2]}, "void": None, "text": "t"}
    table = written(tmp_path, [result(fields=fields), result(fields={**fields, "n": None})], layout)
    assert table.to_pylist() == [fields, {**fields, "n": None}]


FIELD = Layout("label", ("field", "text"), (), (), "text")
APART = [(1, 2**70), (1, "two"), (True, 3), ("a", {"a": 1})]
APART_LATER = [(1, 2.5), ([1], [2.5]), ({"a": 1}, {"b": 2}), ([{"a": 1}], [{"a": 1, "b": 2}])]


def with_field(values: list[Any]) -> list[Result]:
    return [result(index=row, fields={"field": value, "text": "t"}) for row, value in enumerate(values)]


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(("first", "later"), APART + APART_LATER)
def test_a_later_value_that_does_not_fit_is_named(first: Any, later: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="'field'") as caught:
        to_file(tmp_path / "a.parquet", with_field([first] * 4 + [later, first]), FIELD)
    assert caught.value.where == "in.txt:5"
    assert ".jsonl" in str(caught.value.hint)
    assert not (tmp_path / "a.parquet").exists()
    assert finished(tmp_path / "a.parquet.part").num_rows == 3


@pytest.mark.parametrize(("first", "later"), APART)
def test_values_without_a_common_type_are_refused(first: Any, later: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="'field'"):
        to_file(tmp_path / "a.parquet", with_field([first, later]), FIELD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("first", "later"), APART_LATER)
def test_values_of_one_group_share_the_wider_type(first: Any, later: Any, tmp_path: Path) -> None:
    rows = written(tmp_path, with_field([first, later]), FIELD).column("field").to_pylist()
    for given, row in zip((first, later), rows, strict=True):
        assert _without_nulls(row) == given


LONG = ExactNumber("0.1234567890123456789")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([LONG, 0.5, 3], pa.decimal128(38, 19)),
        ([[LONG], [0.5, None]], pa.list_(pa.decimal128(38, 19))),
        ([{"a": LONG}, {"a": 2}], pa.struct([("a", pa.decimal128(38, 19))])),
        ([Decimal("1.50"), Decimal("123456.75")], pa.decimal128(38, 2)),
        ([ExactNumber("0.10000000000000001"), 0.5], pa.float64()),
    ],
)
def test_numbers_keep_the_digits_that_a_double_lacks(
    values: list[Any], kind: pa.DataType, tmp_path: Path
) -> None:
    column = written(tmp_path, with_field(values), FIELD).column("field")
    assert column.type == kind
    for given, row in zip(values, column.to_pylist(), strict=True):
        assert _decimals(row) == _decimals(given)


def _decimals(value: Any) -> Any:
    """The value with its numbers as Decimals: a double as the one of 17 digits."""
    if isinstance(value, dict):
        return {name: _decimals(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_decimals(item) for item in value]
    if type(value) is float:
        return Decimal(f"{value:.17g}")
    return value if value is None else Decimal(str(value))


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(
    ("first", "later"), [(0.5, LONG), (Decimal("1.50"), Decimal("1.505")), (0.5, ExactNumber("1e400"))]
)
def test_digits_that_do_not_fit_the_column_are_refused(first: Any, later: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not fit its column"):
        to_file(tmp_path / "a.parquet", with_field([first] * 4 + [later]), FIELD)


def test_lone_surrogates_become_escapes(tmp_path: Path) -> None:
    values = ["a", "cut \ud83d", "naïve"]
    assert written(tmp_path, with_field(values), FIELD).column("field").to_pylist() == [
        "a",
        r"cut \ud83d",
        "naïve",
    ]


def _without_nulls(value: Any) -> Any:
    """The value without the fields that a struct adds."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item is not None}
    return value


def test_a_field_that_is_no_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="'colour'"):
        to_file(tmp_path / "a.parquet", [result(fields={"text": "t", "colour": "red"})])


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_where_blocks_end_does_not_decide_the_types(
    every: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(parquet, "MARK_ROWS", 1)
    path = tmp_path / "a.parquet"
    sink = open_sink(OutputOptions(output=str(path)), FIELD, stdout=io.BytesIO(), terminal=PIPE)
    values = [1, 2, 2.5, 3, 4.5, 5]
    for number, each in enumerate(with_field(values), 1):
        sink.write(each)
        if number % every == 0:
            assert (sink.mark() is None) is (number < 3)
    sink.close(complete=True)
    assert pq.read_table(path).column("field").to_pylist() == values


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize(("blank", "first"), [(0, 3), (2, 3), (4, 6)])
@pytest.mark.parametrize("resumed", [False, True])
def test_the_hint_counts_the_records_that_fix_the_types(
    resumed: bool, blank: int, first: int, tmp_path: Path
) -> None:
    layout = Layout("label", ("field", "text"), ("label",), (), "text")
    options = OutputOptions(output=str(tmp_path / "a.parquet"), overwrite=True)
    sink = open_sink(options, layout, stdout=io.BytesIO(), terminal=PIPE)
    for row in range(first):
        sink.write(result({"label": "a" if row >= blank else None}, fields={"field": 1, "text": "t"}))
    if resumed:
        mark = sink.mark()
        sink.close(complete=False)
        sink = open_sink(options, layout, stdout=io.BytesIO(), terminal=PIPE, mark=mark)
    sink.write(result({"label": "a"}, fields={"field": 2.5, "text": "t"}))
    with pytest.raises(OutputError, match="'field'") as caught:
        sink.close(complete=True)
    assert f"the first {first} records fix the types" in str(caught.value.hint)


@pytest.mark.usefixtures("small_groups")
def test_the_types_wait_for_a_first_answer(tmp_path: Path) -> None:
    blanks = [result({"embedding": None}, text="") for _ in range(7)]
    vector = np.ones(2, np.float32)
    table = written(tmp_path, [*blanks, result({"embedding": vector})], EMBED)
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    assert table.column("embedding").to_pylist() == [None] * 7 + [[1.0, 1.0]]


def test_many_vectors_make_a_group_before_many_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 64)
    token = {"token": "a", "start": 0, "end": 1, "embedding": np.zeros(4, np.float32)}
    to_file(tmp_path / "a.parquet", [result({"tokens": [token] * 2})] * 6, TOKENS)
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3


def test_an_interrupted_file_can_be_read(tmp_path: Path) -> None:
    to_file(tmp_path / "a.parquet", [result({"label": "a", "score": 0.5})], complete=False)
    assert finished(tmp_path / "a.parquet.part").to_pylist() == [
        {"text": "a text", "label": "a", "score": 0.5}
    ]


def test_parquet_goes_through_a_pipe() -> None:
    data = to_bytes([result({"label": "a", "score": 0.5})], format="parquet")
    assert pq.read_table(io.BytesIO(data)).column("label").to_pylist() == ["a"]


def test_arrays_of_several_dimensions_are_lists_of_lists(tmp_path: Path) -> None:
    layout = Layout("attention", ("text",), ("attention",), REMARKS, "text")
    arrays = [np.arange(2 * size * size, dtype=np.float32).reshape(2, size, size) for size in (3, 4)]
    results = [*(result({"attention": array}) for array in arrays), result({"attention": None}, text="")]
    table = written(tmp_path, results, layout)
    assert table.schema.field("attention").type == pa.list_(pa.list_(pa.list_(pa.float32())))
    assert table["attention"].to_pylist() == [*(array.tolist() for array in arrays), None]

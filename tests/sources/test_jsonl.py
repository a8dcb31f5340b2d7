"""JSON Lines, well-formed and not."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import InputError
from bertcli.sinks.jsontext import to_json
from bertcli.sources.jsonl import MOST_NESTED
from bertcli.sources.jsonnumbers import LONG, may_be_long
from tests.sources.reading import problems, read, texts


def test_fields_pass_through_in_their_order() -> None:
    record = read(stdin=b'{"z": [1, {"a": null}], "text": "t", "a": 1.5}\n')[0]
    assert list(record.fields.items()) == [("z", [1, {"a": None}]), ("text", "t"), ("a", 1.5)]
    assert record.text == "t"


@pytest.mark.parametrize(
    "number", [2**63 - 1, 2**64 - 1, 2**64, -(2**63) - 1, 10**40, 1234567890123456789, 0, -1]
)
def test_integers_of_any_length_are_unchanged(number: int) -> None:
    record = read(stdin=b'{"text": "t", "id": %d}\n{"text": "u", "id": 1}\n' % number)[0]
    assert record.fields["id"] == number
    assert type(record.fields["id"]) is int


def test_numbers_only_python_reads_pass() -> None:
    fields = read(stdin=b'{"text": "t", "x": NaN, "y": -Infinity}')[0].fields
    assert math.isnan(fields["x"])
    assert fields["y"] == -math.inf


def test_what_is_no_object_keeps_its_place() -> None:
    good = b'{"text": "good"}'
    bad = [
        b"{broken",
        b"[1, 2]",
        b"null",
        b'"a string"',
        b"42",
        b"{} {}",
        b"[" * 5000,
        b"9" * 5000,
        b'{"text": "\xff"}',
    ]
    data = b"\n".join([good, *(line for each in bad for line in (each, good))])
    records = read(stdin=data, input_format="jsonl")
    assert texts(records) == ["good", *[None, "good"] * len(bad)]
    assert problems(records)[1::2] == ["json"] * (len(bad) - 1) + ["encoding"]
    for number, record in enumerate(records, 1):
        if record.problem:
            assert f"line {number}" in record.problem.message
            assert dict(record.fields) == {}


@pytest.mark.parametrize("number", [b"1", b"9" * 30])
@pytest.mark.parametrize(("before", "behind"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_too_deeply_to_be_written_is_not_read(
    before: bytes, behind: bytes, number: bytes
) -> None:
    lines = [
        b'{"text": "t", "x": %s}' % (before * depth + number + behind * depth)
        for depth in (MOST_NESTED - 1, MOST_NESTED, 900)
    ]
    flat = b'{"text": "flat", "x": [%s]}' % b",".join([before + number + behind] * 1000)
    records = read(stdin=b"\n".join([*lines, flat]), input_format="jsonl")
    assert texts(records) == ["t", None, None, "flat"]
    assert problems(records) == [None, "json", "json", None]
    assert records[1].problem is not None
    assert records[1].problem.message == "line 2 is nested too deeply"
    for record in (records[0], records[3]):
        assert orjson.loads(to_json(record.fields)).keys() == {"text", "x"}


def test_a_first_line_that_is_no_object_is_a_record_too() -> None:
    for line in (b"[1, 2]", b'["a"]', b"{broken", b'"s"', b"\xff"):
        records = read(stdin=line + b'\n{"text": "good"}\n', input_format="jsonl")
        assert texts(records) == [None, "good"]


def test_empty_lines_are_counted_but_are_no_records() -> None:
    records = read(stdin=b'\n{"text": "a"}\r\n\r\n  \n{"text": "b"}\n\n', input_format="jsonl")
    assert texts(records) == ["a", "b"]
    assert [record.where for record in records] == ["stdin:2", "stdin:5"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": 1}', "there is no field 'text'"),
        (b'{"text": 3, "id": 1}', "the field 'text' is a number, not a string"),
        (b'{"text": true, "id": 1}', "the field 'text' is a boolean, not a string"),
        (b'{"text": ["a"], "id": 1}', "the field 'text' is an array, not a string"),
        (b'{"text": {}, "id": 1}', "the field 'text' is an object, not a string"),
    ],
)
def test_a_text_that_is_none_is_a_field_problem_and_keeps_all_fields(line: bytes, problem: str) -> None:
    record = read(stdin=b'{"text": "first"}\n' + line)[1]
    assert record.problem is not None
    assert (record.problem.type, record.problem.message) == ("field", problem)
    assert record.fields == orjson.loads(line)
    assert record.text is None


def test_a_null_text_is_blank() -> None:
    record = read(stdin=b'{"text": null}')[0]
    assert record.blank
    assert record.text is None


NUMBERS = [
    b"0.1234567890123456789",
    b"-12345678901234567890.5",
    b"1700000000.123456789",
    b"0.10000000000000001",
    b"1e400",
    b"-1E+400",
    b"1e-400",
    b"1.2345e-320",
    b"9007199254740993e0",
    b"1e99999999999999999999",
    b"9" * 5000,
    b"123456789012345678901234567890",
    b"-0.0",
    b"1.0",
    b"1",
    b"0.7071067811865476",
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("line", ['{"text": "t, 1e5: x", "n": %s}', '{"n": [{"a": %s}], "text": "t"}'])
@pytest.mark.parametrize("colon", [":", ": "])
def test_numbers_come_out_as_they_went_in(line: str, number: bytes, colon: str) -> None:
    line %= number.decode()
    record = read(stdin=b'{"text": "a"}\n' + line.replace('": ', f'"{colon}').encode())[1]
    assert record.problem is None
    assert json.loads(to_json(dict(record.fields)), parse_float=str, parse_int=str) == json.loads(
        line, parse_float=str, parse_int=str
    )


@given(st.decimals(allow_nan=False, allow_infinity=False), st.booleans())
def test_every_decimal_keeps_its_value(number: Decimal, spaced: bool) -> None:
    line = f'{{"text":{" " * spaced}"t","n":{" " * spaced}{number}}}'
    (record,) = read(stdin=line.encode())
    written = json.loads(to_json(dict(record.fields)), parse_float=Decimal, parse_int=Decimal)
    assert written["n"] == number


@given(st.text(alphabet="0123456789.eE+- x", max_size=60))
def test_where_there_may_be_no_long_number_there_is_none(text: str) -> None:
    assert may_be_long(text.encode()) or LONG.search(text.encode()) is None


@pytest.mark.parametrize("text", ["1234567890.12345", "1e123", "1.5E-100", "9e+0001"])
def test_long_numbers_are_suspected(text: str) -> None:
    assert LONG.search(text.encode())
    assert may_be_long(text.encode())
    assert not may_be_long(b'{"id": 123456789, "n": 1.5e-10, "at": "2024-01-01 10:00"}')


def test_a_number_with_its_own_digits_counts_as_the_double_nearest_to_it() -> None:
    (record,) = read(stdin=b'{"text": "t", "n": 0.1234567890123456789}')
    assert record.fields["n"] == 0.1234567890123456789
    assert str(record.fields["n"]) == "0.1234567890123456789"


def test_lone_surrogates_pass_through() -> None:
    line = (
        rb'{"text":"t","cut":"cut \ud83d","smile":"\ud83d\ude00","deep":[{"\ude00":12345678901234567890123}]}'
    )
    record = read(stdin=b'{"text": "a"}\n' + line)[1]
    assert record.problem is None
    assert to_json(dict(record.fields)) == line.replace(rb"\ud83d\ude00", "😀".encode())


@pytest.mark.parametrize("field", ["text", "pair"])
def test_a_text_with_a_lone_surrogate_is_a_field_problem_and_keeps_all_fields(field: str) -> None:
    fields = {"id": 7, "text": "t", "pair": "p"} | {field: "cut \ud83d"}
    first = b'{"text": "a", "pair": "b"}\n'
    record = read(stdin=first + json.dumps(fields).encode(), pair_field="pair")[1]
    assert problems([record]) == ["field"]
    assert record.problem is not None
    assert record.problem.message.startswith(f"the field '{field}' holds \\ud83d, half of a surrogate pair")
    assert record.fields == fields


def test_undecodable_bytes_cost_only_their_field() -> None:
    record = read(stdin=b'{"text": "a"}\n{"id": 7, "text": "caf\xe9"}')[1]
    assert problems([record]) == ["encoding"]
    assert record.fields == {"id": 7}


@pytest.mark.parametrize(
    "data", [b'[{"text": "a"},\n{"text": "b"}]', b'[\n  {"text": "a"}\n]', b'\n[ {"text": 1}]']
)
def test_an_array_is_refused_once_with_the_way_out(data: bytes) -> None:
    with pytest.raises(InputError, match="one JSON array") as caught:
        read(stdin=data, input_format="jsonl")
    assert "jq -c '.[]'" in (caught.value.hint or "")


def test_an_object_over_several_lines_is_refused_once_with_the_way_out() -> None:
    with pytest.raises(InputError, match="several lines") as caught:
        read(stdin=b'{\n  "text": "a"\n}\n', input_format="jsonl")
    assert "jq -c ." in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("data", "first"),
    [
        (b'{"text": "json"}\n', "json"),
        (b'  \n{ "text": "json"}\n', "json"),
        (b'\xef\xbb\xbf{"text": "json"}\n', "json"),
        (b"{name} wrote\n", "{name} wrote"),
        (b"{{ mustache }}\n", "{{ mustache }}"),
        (b"[MASK] is a city\n", "[MASK] is a city"),
        (b"{", "{"),
    ],
)
def test_a_pipe_that_begins_like_json_is_jsonl(data: bytes, first: str) -> None:
    assert texts(read(stdin=data))[0] == first


def test_from_txt_reads_json_as_it_is() -> None:
    assert texts(read(stdin=b'{"text": "json"}\n', input_format="txt")) == ['{"text": "json"}']

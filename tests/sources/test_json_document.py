"""JSON documents: arrays and objects over any lines, read in any pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import InputError
from tests.sources.reading import Dribble, problems, read, read_until_error, texts

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
objects = st.fixed_dictionaries({"text": st.text()}, optional={"n": values, "é": values})


@given(
    rows=st.lists(objects, max_size=5),
    indent=st.none() | st.integers(0, 3),
    sizes=st.lists(st.integers(1, 40)),
)
def test_an_array_is_read_back_in_any_pieces(
    rows: list[dict[str, Any]], indent: int | None, sizes: list[int]
) -> None:
    data = json.dumps(rows, indent=indent).encode()
    records = read(stdin=Dribble(data, sizes or (7,)), input_format="json")
    assert [dict(record.fields) for record in records] == rows


def test_strings_are_texts_and_other_elements_problems() -> None:
    records = read(stdin=b'["a", 1, {"text": "b"},\n null, ["x"], "c"]', input_format="json")
    assert texts(records) == ["a", None, "b", None, None, "c"]
    assert problems(records) == [None, "json", None, "json", "json", None]
    assert records[3].where == "stdin:2"


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.json", '[{"text": "a"}, {"text": "b"}]', ["a", "b"]),
        ("a.json", '[\n  "a",\n  "b"\n]\n', ["a", "b"]),
        ("a.json", '{\n  "text": "a"\n}\n', ["a"]),
        ("a.json", '{"text": "a"}\n{"text": "b"}\n', ["a", "b"]),
        ("a.json", '{"text": "a"}', ["a"]),
        ("a.json", "[]", []),
        ("pipe", '[{"text": "a"}]', ["a"]),
        ("pipe", '{\n"text": "a"}', ["a"]),
    ],
)
def test_what_a_json_file_is_shows_its_beginning(
    name: str, data: str, expected: list[str], tmp_path: Path
) -> None:
    if name == "pipe":
        assert texts(read(stdin=Dribble(data.encode(), (3,)))) == expected
    else:
        (tmp_path / name).write_text(data)
        assert texts(read(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("data", "before", "message"),
    [
        (b'[{"text": "a"},\n{"text": ', ["a"], "line 2: this is not JSON"),
        (b'[{"text": "a"}\n', ["a"], "line 2: ends in the middle of an array"),
        (b'[{"text": "a"}]\n[]', ["a"], "line 2: has more behind its array"),
        (b'[{"text": "a"}\n{"text": "b"}]', ["a"], "line 2: expects a comma"),
        (b"[" * 100_000, [], "nested too deeply"),
    ],
)
def test_damage_is_reported_behind_the_records_before_it(
    data: bytes, before: list[str], message: str
) -> None:
    from bertcli.requests import InputOptions
    from bertcli.sources import open_source

    source = open_source(InputOptions(input_format="json"), stdin=Dribble(data, (5000,)), interactive=False)  # type: ignore[arg-type]
    try:
        records, error = read_until_error(source)
    except InputError as raised:
        records, error = [], raised
    assert texts(records) == before
    assert message in error.message


def test_numbers_pass_through_and_a_large_element_is_refused() -> None:
    number = 12345678901234567890123
    (record,) = read(stdin=b'[{"text": "a", "n": %d}]' % number, input_format="json")
    assert record.fields["n"] == number
    with pytest.raises(InputError, match="larger than 50 bytes"):
        read(stdin=b'["' + b"x" * 200 + b'"]', input_format="json", max_record_bytes=50)

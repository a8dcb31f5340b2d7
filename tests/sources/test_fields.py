"""Which field is the text, and what is known before the first record is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertcli.errors import UsageError
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from tests.sources.reading import Dribble, problems, read, texts


@pytest.mark.parametrize(
    ("data", "options", "text"),
    [
        (b'{"a": "x", "text": "t"}', {}, "t"),
        (b'{"n": 1, "body": "t", "ok": true}', {}, "t"),
        (b'{"id": "x", "body": "t"}', {"id_field": "id"}, "t"),
        (b'{"b": "x", "a": "t"}', {"pair_field": "b"}, "t"),
        (b'{"text": "x", "body": "t"}', {"text_field": "body"}, "t"),
    ],
)
def test_the_text_is_found(data: bytes, options: dict[str, str], text: str) -> None:
    assert texts(read(stdin=data, **options)) == [text]


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (b'{"title": "x", "body": "t"}', {}),
        (b'{"title": 1, "body": null}', {}),
        (b'{"title": "x", "body": "t"}', {"text_field": "bodi"}),
        (b'{"title": "x", "body": "t"}', {"text_field": "body", "pair_field": "other"}),
        (b'{"title": "x", "body": "t"}', {"text_field": "body", "id_field": "id"}),
    ],
)
def test_where_it_cannot_be_known_the_fields_are_listed(data: bytes, options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        read(stdin=data, **options)
    assert "'title', 'body'" in (caught.value.hint or "")


def test_a_csv_with_several_columns_asks_which() -> None:
    with pytest.raises(UsageError, match="several fields"):
        read(stdin=b"id,body\n1,a\n", input_format="csv")


def test_pairs_are_read_and_checked() -> None:
    data = b'{"text": "a", "b": "c"}\n{"text": "a"}\n{"text": "a", "b": 1}\n{"text": "a", "b": null}\n'
    records = read(stdin=data, pair_field="b")
    assert [record.pair for record in records] == ["c", None, None, None]
    assert problems(records) == [None, "field", "field", None]


def test_names_are_known_before_the_first_record_and_nothing_is_lost() -> None:
    data = b'broken\n{"body": "a", "n": 1}\n{"body": "b"}\n'
    source = open_source(InputOptions(input_format="jsonl"), stdin=Dribble(data, [3]), interactive=False)
    assert (source.field_names, source.text_field) == (("body", "n"), "body")
    assert texts(source) == [None, "a", "b"]


def test_names_of_plain_text_are_known_without_reading(tmp_path: Path) -> None:
    source = open_source(InputOptions(texts=("t",), text_field="body"))
    assert (source.field_names, source.text_field) == (("body",), "body")
    assert [dict(record.fields) for record in source] == [{"body": "t"}]


def test_an_empty_input_has_no_names() -> None:
    source = open_source(InputOptions(input_format="jsonl"), stdin=Dribble(b""), interactive=False)
    assert (source.field_names, source.text_field) == ((), "text")
    assert list(source) == []


def test_the_first_file_with_records_decides_for_all(tmp_path: Path) -> None:
    empty, first, second = (tmp_path / name for name in ("a.csv", "b.csv", "c.jsonl"))
    empty.write_bytes(b"")
    first.write_bytes(b"body\nx\n")
    second.write_bytes(b'{"body": "y"}\n{"text": "z"}\n')
    records = read(empty, first, second)
    assert texts(records) == ["x", "y", None]
    assert problems(records) == [None, None, "field"]
    assert [record.index for record in records] == [0, 1, 2]


def test_many_broken_lines_first_are_not_read_without_end() -> None:
    records = read(stdin=b"broken\n" * 150 + b'{"text": "good"}\n', input_format="jsonl")
    assert texts(records) == [None] * 150 + ["good"]

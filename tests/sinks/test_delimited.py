"""CSV and TSV: Python's own reader gets back what was written."""

from __future__ import annotations

import csv
import datetime
import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import OutputError
from bertcli.sinks import Layout
from tests.sinks.writing import EMBED, REMARKS, failed, result, to_bytes

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
LAYOUT = Layout("label", ("text", "note"), ("label", "score"), REMARKS, "text")


def read(written: bytes, delimiter: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(written.decode(), newline=""), delimiter=delimiter, strict=True))


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), ("tsv", "\t")])
@given(st.lists(st.tuples(TEXT, TEXT)))
def test_every_text_comes_back(form: str, delimiter: str, pairs: list[tuple[str, str]]) -> None:
    results = [
        result({"label": note, "score": 0.5}, fields={"text": text, "note": note}, text=text)
        for text, note in pairs
    ]
    header, *rows = read(to_bytes(results, LAYOUT, format=form), delimiter)
    assert header == ["text", "note", "label", "score", "windows", "truncated", "error"]
    assert rows == [[text, note, note, "0.5", "", "", ""] for text, note in pairs]


@given(st.lists(TEXT))
def test_one_column_keeps_its_empty_records(texts: list[str]) -> None:
    layout = Layout("x", ("text",), (), (), "text")
    header, *rows = read(to_bytes([result(text=text) for text in texts], layout, format="csv"), ",")
    assert header == ["text"]
    assert rows == [[text] for text in texts]


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (True, "true"),
        (2 / 3, "0.6666666666666666"),
        (2**70, str(2**70)),
        ("\ud800", "\\ud800"),
        ([1, {"a": None}], '"[1,{""a"":null}]"'),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        ("null", "null"),
    ],
)
def test_cells(value: Any, cell: str) -> None:
    layout = Layout("x", ("field", "text"), (), (), "text")
    written = to_bytes([result(fields={"field": value, "text": "t"})], layout, format="csv")
    assert written == f"field,text\n{cell},t\n".encode()


def test_results_are_rounded_and_vectors_are_json() -> None:
    vector = np.array([0.1, 2], np.float32)
    assert to_bytes([result({"label": "a", "score": 2 / 3})], format="csv").splitlines()[1] == (
        b"a text,a,0.666667,,,"
    )
    written = to_bytes([result({"embedding": vector}, windows=2), failed()], EMBED, format="csv")
    assert written == (
        b"text,embedding,windows,truncated,error\n"
        b'a text,"[0.1,2.0]",2,,\n'
        b'bad,,,,"{""type"":""encoding"",""message"":""invalid byte""}"\n'
    )


def test_a_field_the_header_lacks_is_named() -> None:
    with pytest.raises(OutputError, match="'colour'") as caught:
        to_bytes([result(index=4, fields={"text": "t", "colour": "red"})], format="csv")
    assert caught.value.where == "in.txt:5"
    assert ".jsonl" in str(caught.value.hint)


def test_no_records_still_have_a_header() -> None:
    assert to_bytes([], format="csv") == b"text,label,score,windows,truncated,error\n"
    assert to_bytes([], format="csv", complete=False) == b""


def test_nested_cells_are_valid_json() -> None:
    fills = [{"words": ["a", 'b"'], "score": 0.25, "text": "a\nb"}]
    layout = Layout("fill", ("text",), ("fills",), (), "text")
    _, (_, cell) = read(to_bytes([result({"fills": fills})], layout, format="csv"), ",")
    assert json.loads(cell) == fills

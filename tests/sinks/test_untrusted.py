"""What an input brings along reaches the output unchanged, or somebody is told."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.console import Terminal
from bertcli.records import Record, Result
from bertcli.requests import OutputFormat, OutputOptions
from bertcli.sinks import REMARKS, Layout, open_sink

Capture = pytest.CaptureFixture[str]
FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "=", "-")
HARMLESS = ("a", "-1.5", "+4", "-.5e-3", "1=1", " =1", "", "'=1")


def written(form: OutputFormat, *records: dict[str, Any], safe: bool = False) -> str:
    out = io.BytesIO()
    layout = Layout("label", tuple(records[0]), ("score",), REMARKS, "text")
    sink = open_sink(OutputOptions(format=form, csv_safe=safe), layout, stdout=out, terminal=Terminal())
    for index, fields in enumerate(records):
        sink.write(Result(Record(index, fields, "t", where=f"in:{index + 1}"), {"score": -0.5}))
    sink.close(True)
    return out.getvalue().decode()


def cells(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(FORMULAS))
def test_cells_pass_unchanged_by_default(text: str) -> None:
    assert cells(written("csv", {"text": text}))[1] == [text, "-0.5", "", "", ""]


@pytest.mark.parametrize("form", ["csv", "tsv"])
def test_formulas_are_quoted_on_demand_and_nothing_else_is(form: OutputFormat) -> None:
    rows = cells(
        written(form, *({"=text": text} for text in (*FORMULAS, *HARMLESS)), safe=True),
        "," if form == "csv" else "\t",
    )
    assert rows[0][0] == "'=text"
    assert [row[0] for row in rows[1:]] == [*("'" + text for text in FORMULAS), *HARMLESS]
    assert {row[1] for row in rows[1:]} == {"-0.5"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, {"a": float("-inf")}]])
@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_numbers_that_json_cannot_hold_do_not_vanish_without_a_word(
    form: OutputFormat, value: Any, capsys: Capture
) -> None:
    text = written(form, {"text": "a", "x": 1.0}, {"text": "b", "x": value}, {"text": "c", "x": value})
    warning = capsys.readouterr().err
    assert warning.count("in:2: 'x' holds a number that JSON cannot") == 1
    assert "in:3" not in warning
    if form == "jsonl":
        assert "NaN" not in text
        assert json.loads(text.splitlines()[1])["text"] == "b"


def test_null_itself_is_no_news(capsys: Capture) -> None:
    written("jsonl", {"text": "null", "x": None})
    assert capsys.readouterr().err == ""

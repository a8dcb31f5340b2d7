"""JSONL and JSON: what was read and what was answered come back from them unchanged."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli import console
from bertcli.records import Problem, Result
from bertcli.sinks import Layout
from bertcli.sinks.jsontext import to_json
from bertcli.sinks.numbers import significant
from tests.sinks.writing import EMBED, LABEL, REMARKS, failed, result, to_bytes

# Every value a JSON file can hold, integers beyond 64 bits and halves of surrogate pairs included.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=8,
)  # fmt: skip


def rows(*results: Result, layout: Layout = LABEL, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in to_bytes(results, layout, **options).splitlines()]


def _joined(value: Any) -> Any:
    """The value with two halves of a surrogate pair side by side read as the one character they are."""
    return json.loads(json.dumps(value))


@given(JSON)
def test_json_gives_back_every_value(value: Any) -> None:
    written = to_json(value, newline=True)
    assert written.endswith(b"\n")
    assert b"\n" not in written[:-1]
    assert json.loads(written) == _joined(value)


@pytest.mark.slow
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_input_fields_pass_through_in_order(fields: dict[str, Any]) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("label", "score")}
    (row,) = rows(result({"label": "a", "score": 0.5}, fields=fields))
    assert list(row) == [*_joined(fields), "label", "score"]
    assert {name: row[name] for name in fields} == _joined(fields)


def test_rows_look_as_promised() -> None:
    layout = Layout("label", ("id", "text"), ("label", "score", "labels"), REMARKS, "text")
    labels = [{"label": "a", "score": 2 / 3}, {"label": "b", "score": 1e-9 / 3}]
    done = result({"label": "a", "score": 2 / 3, "labels": labels}, windows=3, truncated=True)
    assert to_bytes([done, failed()], layout) == (
        b'{"text":"a text","label":"a","score":0.666667,'
        b'"labels":[{"label":"a","score":0.666667},{"label":"b","score":3.33333e-10}],'
        b'"windows":3,"truncated":true}\n'
        b'{"text":"bad","error":{"type":"encoding","message":"invalid byte"}}\n'
    )


def test_only_results_are_rounded_and_prefixed() -> None:
    done = result({"label": "a", "score": 2 / 3}, fields={"price": 2 / 3, "text": "x"})
    layout = Layout("label", ("price", "text"), ("label", "score"), REMARKS, "text", prefix="bert_")
    assert rows(done, layout=layout, digits=2) == [
        {"price": 2 / 3, "text": "x", "bert_label": "a", "bert_score": 0.67}
    ]


@pytest.mark.parametrize(
    ("array", "spelled"),
    [
        (np.array([0.1, -1.5, 3e-8], np.float32), "[0.1,-1.5,3e-8]"),
        (np.array([0.1], np.float16), "[0.099975586]"),
        (np.array([1, -128], np.int8), "[1,-128]"),
        (np.array([0, 255], np.uint8), "[0,255]"),
        (np.arange(6, dtype=np.float32)[::2], "[0.0,2.0,4.0]"),
    ],
)
def test_arrays_have_their_own_shortest_spelling(array: Any, spelled: str) -> None:
    assert to_bytes([result({"embedding": array})], EMBED) == (
        f'{{"text":"a text","embedding":{spelled}}}\n'.encode()
    )


def test_a_vector_beside_an_integer_beyond_64_bits() -> None:
    vector = np.array([0.1, 0.2], np.float32)
    (row,) = rows(result({"embedding": vector}, fields={"n": 2**70}), layout=EMBED)
    assert row == {"n": 2**70, "embedding": [0.1, 0.2]}


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=20),
    st.integers(1, 9),
)
def test_digits_round_vectors_to_significant_digits(numbers: list[float], digits: int) -> None:
    array = np.array(numbers, np.float32)
    for number, rounded in zip(array.tolist(), significant(array, digits).tolist(), strict=True):
        assert rounded == pytest.approx(number, rel=0.5000001 * 10.0 ** (1 - digits), abs=0)
        assert len(f"{Decimal(orjson.dumps(rounded).decode()).normalize():e}".split("e")[0].strip("-")) <= (
            digits + 1 if digits > 1 else 1
        )


def test_digits_reach_tokens_too() -> None:
    layout = Layout("embed", ("text",), ("tokens",), REMARKS, "text")
    token = {"token": "a", "start": 0, "end": 1, "embedding": np.array([1 / 3, -2000 / 3], np.float32)}
    (row,) = rows(result({"tokens": [token]}), layout=layout, digits=3)
    assert row["tokens"] == [{"token": "a", "start": 0, "end": 1, "embedding": [0.333, -667.0]}]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.array([1.0, np.nan], np.float32)])
def test_a_number_that_is_not_finite_becomes_null_with_one_warning(
    value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    console.configure()
    written = to_bytes([result({"embedding": value}, index=4)] * 3, EMBED)
    assert b"null" in written
    assert b"NaN" not in written
    assert capsys.readouterr().err.count("not finite") == 1


def test_what_json_has_no_type_for_is_text() -> None:
    assert (
        to_json({"a": b"\xff\x00", "b": Decimal("1.10"), "c": math.nan})
        == b'{"a":"/wA=","b":"1.10","c":null}'
    )
    assert to_json([2**64, math.nan, Decimal("1.10")]) == b'[18446744073709551616,null,"1.10"]'


@given(st.lists(st.text(), max_size=5))
def test_a_json_file_is_one_array(texts: list[str]) -> None:
    results = [result({"label": text, "score": 1.0}, text=text) for text in texts]
    whole = to_bytes(results, format="json")
    assert whole.endswith(b"]\n")
    assert json.loads(whole) == rows(*results)


def test_an_interrupted_array_stays_open() -> None:
    cut = to_bytes([result({"label": "a", "score": 1.0})], format="json", complete=False)
    assert json.loads(cut + b"]") == [{"text": "a text", "label": "a", "score": 1.0}]


def test_a_problem_beside_saved_fields() -> None:
    done = result(fields={"id": 7}, text=None, problem=Problem("field", "no field 'text'"))
    assert rows(done) == [{"id": 7, "error": {"type": "field", "message": "no field 'text'"}}]

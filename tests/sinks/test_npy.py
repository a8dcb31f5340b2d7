"""npy: an array with a row a record, and a line of ids a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import OutputError, UsageError
from bertcli.sinks import Layout
from tests.sinks.writing import EMBED, REMARKS, failed, result, to_bytes, to_file

BLANK = result({"embedding": None}, text=" ")


def ids(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(st.lists(st.sampled_from(["vector", "blank", "failed"]), max_size=12))
def test_a_row_and_an_id_for_every_record(tmp_path_factory: pytest.TempPathFactory, kinds: list[str]) -> None:
    folder = tmp_path_factory.mktemp("npy")
    vectors = {row: np.full(3, row, np.float32) for row, kind in enumerate(kinds) if kind == "vector"}
    results = [
        result({"embedding": vectors[row]}, index=row)
        if kind == "vector"
        else result({"embedding": None}, text=None, index=row)
        if kind == "blank"
        else failed(row)
        for row, kind in enumerate(kinds)
    ]
    to_file(folder / "a.npy", results, EMBED)
    array = np.load(folder / "a.npy")
    assert array.shape == (len(kinds), 3 if vectors else 0)
    for row in range(len(kinds)):
        np.testing.assert_array_equal(array[row], vectors.get(row, np.full(array.shape[1], np.nan)))
    expected: dict[str, dict[str, Any]] = {
        "vector": {},
        "blank": {"blank": True},
        "failed": {"error": {"type": "encoding", "message": "invalid byte"}},
    }
    assert ids(folder / "a.ids.jsonl") == [
        {"row": row, "id": row, **expected[kind]} for row, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("dtype", "empty"), [(np.float32, np.nan), (np.float16, np.nan), (np.int8, 0), (np.uint8, 0)]
)
def test_the_array_has_the_dtype_of_the_vectors(dtype: Any, empty: float, tmp_path: Path) -> None:
    vector = np.array([1, 2], dtype)
    to_file(tmp_path / "a.npy", [BLANK, result({"embedding": vector}), BLANK], EMBED)
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, np.array([[empty] * 2, [1, 2], [empty] * 2], dtype))


def test_ids_come_from_the_id_field(tmp_path: Path) -> None:
    layout = Layout("embed", ("key", "text"), ("embedding",), REMARKS, "text", id_field="key")
    vector = np.zeros(1, np.float32)
    rows = [{"key": "x7", "text": "t"}, {"text": "t"}]
    to_file(tmp_path / "a.npy", [result({"embedding": vector}, fields=row, index=9) for row in rows], layout)
    assert [line["id"] for line in ids(tmp_path / "a.ids.jsonl")] == ["x7", 9]


def test_both_names_are_guarded(tmp_path: Path) -> None:
    (tmp_path / "a.ids.jsonl").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        to_file(tmp_path / "a.npy", [], EMBED)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ids.jsonl"]
    with pytest.raises(OutputError, match="holds no ids"):
        to_file(tmp_path / "a.npy", [], EMBED, overwrite=True)
    assert (tmp_path / "a.ids.jsonl").read_text() == "mine"
    (tmp_path / "a.ids.jsonl").write_text('{"row":0,"id":7}\n')
    to_file(tmp_path / "a.npy", [], EMBED, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ids.jsonl", "a.npy"]


def test_an_interrupted_array_can_be_read(tmp_path: Path) -> None:
    vector = np.ones(2, np.float32)
    to_file(tmp_path / "a.npy", [result({"embedding": vector})] * 3, EMBED, complete=False)
    assert np.load(tmp_path / "a.npy.part", allow_pickle=False).shape == (3, 2)
    assert len(ids(tmp_path / "a.ids.jsonl.part")) == 3
    assert not (tmp_path / "a.npy").exists()


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    results = [result({"embedding": np.zeros(width, np.float32)}) for width in (2, 3)]
    with pytest.raises(OutputError, match="among vectors"):
        to_file(tmp_path / "a.npy", results, EMBED)


def test_what_npy_cannot_hold_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    tokens = Layout("embed", ("text",), ("tokens",), REMARKS, "text")
    with pytest.raises(UsageError, match="one vector a record") as caught:
        to_file(tmp_path / "a.npy", [], tokens)
    assert ".parquet" in str(caught.value.hint)
    with pytest.raises(UsageError, match="needs a file"):
        to_bytes([], EMBED, format="npy")
    assert not list(tmp_path.iterdir())

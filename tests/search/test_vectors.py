"""Vectors and records in files: every row as `embed` wrote it, and words for files that hold none."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from bertcli.errors import BertcliError, InputError, UsageError
from bertcli.records import Record
from bertcli.search.rows import IdRows, ParquetRows, RecordSpool
from bertcli.search.vectors import VectorSpool, open_vectors

ROWS = np.arange(12).reshape(4, 3)
FLOATS = {"descr": "<f4", "fortran_order": False}


def header(content: object) -> bytes:
    """An npy file that says this of itself, and nothing else."""
    line = f"{content}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


def read(path: Path) -> np.ndarray:
    with ExitStack() as held:
        return open_vectors(str(path), held)[:].astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "float64"])
def test_npy_files_are_read_as_they_are(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x.npy", ROWS.astype(dtype))
    assert read(tmp_path / "x.npy").tolist() == ROWS.tolist()


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32(), 3), pa.list_(pa.float16(), 3), pa.list_(pa.float64())]
)
def test_parquet_columns_are_read_with_their_holes(tmp_path: Path, kind: pa.DataType) -> None:
    values = [None, *ROWS.astype(np.float16 if "half" in str(kind) else float), None]
    values = [None if value is None else list(value) for value in values]
    parquet.write_table(pa.table({"embedding": pa.array(values, kind)}), tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet")
    assert found[1:-1].tolist() == ROWS.tolist()
    assert np.isnan(found[[0, -1]]).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", "is not an npy file"),
        ("x.npy", b"nonsense of some length", "is not an npy file"),
        ("x.npy", header("{'descr'"), "is not an npy file"),
        ("x.npy", header("-" * 9000 + "1"), "is not an npy file"),
        ("x.npy", header(FLOATS | {"shape": (-3, 2)}), "holds -3 by 2 float32"),
        ("x.npy", header(FLOATS | {"shape": (9, 2**70)}), "ends before its last vector"),
        ("x.npy", np.empty((3, 0)), "holds no vectors: each record was blank"),
        ("x.npy", np.arange(3.0), "holds 3 float64, where a vector a row"),
        ("x.npy", np.array([["a"]]), "where a vector a row"),
        ("x.npy", np.asfortranarray(ROWS.astype(float)), "where a vector a row"),
        ("x.npy", ROWS.astype(np.uint8), "holds bits"),
        ("x.parquet", b"nonsense", "cannot be read as Parquet"),
        ("x.parquet", {"text": ["a"]}, "has no column embedding"),
        ("x.parquet", {"embedding": ["a"]}, "holds no vectors"),
        ("x.parquet", {"embedding": pa.nulls(3, pa.string())}, "holds no vectors: each record was blank"),
        ("x.parquet", {"embedding": [[1.0, 2.0], [1.0, 2.0, 3.0, 4.0]]}, "lists of 2 and 4 numbers"),
        ("x.parquet", {"embedding": [["a"]]}, "holds no vectors"),
        ("x.parquet", {"embedding": pa.array([[1]], pa.list_(pa.uint8(), 1))}, "holds bits"),
        ("x.csv", b"", "from .npy and .parquet"),
    ],
)
def test_what_holds_no_vectors_is_told(tmp_path: Path, name: str, content: Any, message: str) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        parquet.write_table(pa.table(content), path)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(BertcliError, match=message):
        read(path)


def test_a_file_that_was_cut_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS.astype(np.float32))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-5])
    with pytest.raises(InputError, match="ends before its last vector"):
        read(tmp_path / "x.npy")


def test_there_is_no_such_file(tmp_path: Path) -> None:
    for name in ("x.npy", "x.parquet"):
        with pytest.raises(InputError, match=r"(?i)no such file"):
            read(tmp_path / name)
    with pytest.raises(UsageError):
        read(tmp_path / "x")


def test_a_spool_holds_rows_in_order_and_nan_where_there_was_none() -> None:
    with closing(VectorSpool()) as spool:
        assert spool.vectors().shape == (0, 0)
        spool.skip(2)
        spool.add(ROWS[:1])
        spool.skip()
        spool.add(ROWS[1:])
        spool.skip(3)
        found = spool.vectors()
        assert len(found) == 10
        kept = ~np.isnan(found[:]).any(axis=1)
        assert kept.nonzero()[0].tolist() == [2, 4, 5, 6]
        assert found[:][kept].tolist() == ROWS.tolist()
        assert found[5:7].tolist() == ROWS[2:].tolist()
        with pytest.raises(ValueError, match="a vector of 2 among vectors of 3"):
            spool.add(np.ones((1, 2)))


def test_records_come_back_from_any_row() -> None:
    records = [Record(n, {"text": f"t{n}", "at": None}, f"t{n}", where=f"f:{n + 1}") for n in range(5)]
    with closing(RecordSpool(("text", "at"), "text", iter(records))) as rows:
        assert [rows.record(row) for row in (3, 0, 4, 3)] == [records[row] for row in (3, 0, 4, 3)]
        with pytest.raises(InputError, match="no record 6, only 5"):
            rows.record(5)


def test_ids_lie_beside_an_npy_file(tmp_path: Path) -> None:
    path = tmp_path / "x.ids.jsonl"
    path.write_text('{"row":0,"id":"a"}\n{"row":1,"id":7,"blank":true}\n')
    with closing(IdRows(str(path), "x.npy")) as rows:
        assert [rows.record(row).fields["id"] for row in (1, 0, 2)] == [7, "a", 2]
        assert rows.record(1).where == "x.npy:2"
    assert IdRows(str(tmp_path / "none"), "x.npy").record(4).fields == {"id": 4}


@pytest.mark.parametrize("line", [b"a", b"", b"{}", b'["id"]', b'"id"', b"7", b"null", b'{"id":"\xff"}'])
def test_ids_that_embed_did_not_write_are_told(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.ids.jsonl"
    path.write_bytes(b'{"row":0,"id":"a"}\n' + line + b"\n")
    with closing(IdRows(str(path), "x.npy")) as rows:
        assert rows.record(0).fields == {"id": "a"}
        with pytest.raises(InputError, match="is not what embed wrote") as caught:
            rows.record(1)
    assert caught.value.where == f"{path}:2"
    assert caught.value.hint


def test_parquet_rows_have_all_their_columns_but_the_vector(tmp_path: Path) -> None:
    table = pa.table(
        {"id": range(9), "text": [f"t{n}" for n in range(9)], "embedding": [[1.0]] * 9, "windows": [None] * 9}
    )
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    with closing(ParquetRows(str(tmp_path / "x.parquet"), None)) as rows:
        assert (rows.names, rows.text_field) == (("id", "text", "windows"), "text")
        for row in (8, 0, 4, 3):
            found = rows.record(row)
            assert (found.fields, found.text) == ({"id": row, "text": f"t{row}"}, f"t{row}")


UNREADABLE = [
    pa.array([1], pa.timestamp("ns")),  # Python's times end at microseconds
    pa.array([10**12], pa.timestamp("s")),  # and its years at 9999
    pa.array([10**15], pa.duration("s")),
]


@pytest.mark.parametrize("column", UNREADABLE, ids=lambda column: str(column.type))
def test_a_row_that_cannot_be_had_is_told(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"at": column, "embedding": [[1.0]]}), path)
    with closing(ParquetRows(str(path), None)) as rows, pytest.raises(InputError, match="read: ") as caught:
        rows.record(0)
    assert caught.value.where == f"{path}:1"


def test_a_damaged_row_group_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    values = [str(n * 7919 % 100_003) * 9 for n in range(4000)]
    parquet.write_table(
        pa.table({"text": values}), path, row_group_size=1000, compression="gzip", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    data[len(data) // 8 : len(data) // 8 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with closing(ParquetRows(str(path), None)) as rows:
        with pytest.raises(InputError, match="cannot be read: "):
            rows.record(0)
        assert rows.record(3999).text == values[3999]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(InputError, match="same name: 'text'"):
        ParquetRows(str(tmp_path / "x.parquet"), None)

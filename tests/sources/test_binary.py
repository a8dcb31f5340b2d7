"""Files that are no text are refused by name, before any record."""

from __future__ import annotations

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save

from bertcli.errors import InputError
from tests.sources.reading import Dribble, read


def a_zip(folder: Path) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


def a_tar(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    return file.getvalue()


def a_database(folder: Path) -> bytes:
    database = sqlite3.connect(folder / "a.db")
    database.execute("create table a (b)")
    database.close()
    return (folder / "a.db").read_bytes()


def an_arrow_file(folder: Path) -> bytes:
    file = io.BytesIO()
    table = pa.table({"text": ["a"]})
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def an_array(folder: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


KINDS: dict[str, Callable[[Path], bytes]] = {
    "a zip archive": a_zip,
    "a tar archive": a_tar,
    "an SQLite database": a_database,
    "an Arrow": an_arrow_file,
    "a NumPy array": an_array,
    "a Python pickle": lambda folder: pickle.dumps({"a": 1}),
    "a safetensors file": lambda folder: save({"a": np.zeros(3)}),
    "a PDF": lambda folder: b"%PDF-1.7\n%\xe2\xe3",
    "a program": lambda folder: b"\x7fELF\x02\x01\x01" + bytes(60),
    "a picture": lambda folder: b"\x89PNG\r\n\x1a\n" + bytes(20),
}


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize("suffix", ["txt", "csv", "jsonl"])
@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_text_is_refused_by_name(
    name: str, compress: Callable[[bytes], bytes], suffix: str, tmp_path: Path
) -> None:
    data = compress(KINDS[name](tmp_path))
    file = tmp_path / f"file.{suffix}"
    file.write_bytes(data)
    for act in (lambda: read(file), lambda: read(stdin=Dribble(data, (600,)))):
        with pytest.raises(InputError, match=name) as caught:
            act()
        assert caught.value.hint


@pytest.mark.parametrize("text", ["PK", "MZ is a prefix", "GIF", "ID", "II", "%PDF", "RIFF", "ORATOR"])
def test_text_that_begins_like_one_of_them_is_text(text: str) -> None:
    assert read(stdin=text.encode())[0].text == text

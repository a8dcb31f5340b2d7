"""The parts of an input together are the input, and a part is read without what is before it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from bertcli.distributed.shards import Shard, shard_of
from bertcli.requests import InputOptions
from bertcli.sources import Source, open_source

LINES = [json.dumps({"id": number, "text": "word " * (number * 7 % 23)}) for number in range(40)]
JSONL = "\n".join(
    [*LINES[:3], "", "  ", *LINES[3:25], "not JSON", '{"text": NaN}', *LINES[25:], '[{"a": 1}']
).encode()
CELLS = b"x;1\n\ny;2\r\nz\n\xff;3\n"


def shards(options: InputOptions, count: int) -> list[Shard]:
    return [
        shard_of(InputOptions(**{**vars(options), "shard": (index, count)})) for index in range(1, count + 1)
    ]


def records(source: Source) -> list[tuple[object, ...]]:
    with closing(source):
        read = list(source)
    problems = [record.where if record.problem else "" for record in read]
    return [
        (repr(record.fields), record.text, record.problem, place)
        for record, place in zip(read, problems, strict=True)
    ]


def write_parquet(path: Path) -> None:
    table = pa.table({"text": [f"text {number}" for number in range(50)]})
    parquet.write_table(table, path, row_group_size=7)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a.jsonl": (lambda path: path.write_bytes(JSONL), "bytes"),
    "crlf.jsonl": (lambda path: path.write_bytes(JSONL.replace(b"\n", b"\r\n") + b"\r\n"), "bytes"),
    "bom.txt": (lambda path: path.write_bytes(b"\xef\xbb\xbf" + JSONL.replace(b"word", b"\xef\xbb\xbf\xff")), "bytes"),
    "long.txt": (lambda path: path.write_bytes(b"a" * 3000 + b"\n\nb"), "bytes"),
    "empty.txt": (lambda path: path.write_bytes(b""), "bytes"),
    "a.parquet": (write_parquet, "records"),
    "a.jsonl.gz": (lambda path: path.write_bytes(gzip.compress(JSONL)), "records"),
    "utf16.txt": (lambda path: path.write_bytes("a\nb\nc\nd".encode("utf-16")), "records"),
    "quoted.csv": (lambda path: path.write_text('text,b\n"two\nlines",1\none,2\n' * 1 + "x,3\n" * 9), "records"),
    "a.csv": (lambda path: path.write_bytes(b"\xef\xbb\xbf\nsep=;\n\ntext;b\n" + CELLS * 9), "bytes"),
    "a.tsv": (lambda path: path.write_text("text\tb\n" + "x\t1\ny" * 9), "bytes"),
}  # fmt: skip


@pytest.mark.parametrize(
    "names", [*([name] for name in FILES), ["a.jsonl", "empty.txt", "crlf.jsonl"]], ids=" ".join
)
def test_parts_are_the_whole(names: list[str], tmp_path: Path) -> None:
    for name in names:
        FILES[name][0](tmp_path / name)
    options = InputOptions(files=tuple(str(tmp_path / name) for name in names))
    if names == ["empty.txt"]:
        options = InputOptions(**{**vars(options), "text_field": "text"})
    whole = records(open_source(options))
    for count in (1, 2, 3, 7, 60):
        parts = shards(options, count)
        assert {part.unit for part in parts} == {FILES[names[0]][1]}
        assert [row for part in parts for row in records(part.open())] == whole
        assert parts[-1].last == parts[0].total


def test_what_is_before_a_part_is_not_read(tmp_path: Path) -> None:
    lines, rows = tmp_path / "a.jsonl", tmp_path / "a.parquet"
    lines.write_text("\n".join(LINES))
    write_parquet(rows)
    group = parquet.ParquetFile(rows).metadata.row_group(5).column(0)
    for path, damaged in (
        (lines, slice(len(LINES[0]) + 1, 2000)),
        (rows, slice(4, group.dictionary_page_offset)),
    ):
        part = shards(InputOptions(files=(str(path),)), 5)[-1]
        expected = records(part.open())
        data = bytearray(path.read_bytes())
        data[damaged] = b"?" * len(data[damaged])
        path.write_bytes(data)
        assert len(expected) > 5
        assert records(part.open()) == expected

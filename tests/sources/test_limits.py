"""A record that is too big fails in its place, and the memory it would take is never taken."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import InputError
from bertcli.requests import InputOptions
from bertcli.sources import open_source
from bertcli.sources.encoding import TOO_BIG
from bertcli.sources.lines import split_lines, whole_lines
from tests.sources.reading import Dribble, problems, read, texts

MIB = 1 << 20


def bomb(form: str) -> tuple[bytes, list[str | None]]:
    """A record too big for a limit of 100 bytes between two that are not, and the texts that are left."""
    big = b"x" * 200
    match form:
        case "jsonl":
            lines = [b'{"text": "a"}', b'{"text": "%b"}' % big, b'{"text": "b"}']
        case "csv" | "tsv":
            lines = [b"text", b"a", b'"x\n' + b"y\n" * 60 + b'"', b"b"]
        case "conll":
            return b"a O\n\n" + b"x O\n" * 60 + b"\nb O\n", ["a", None, "b"]
        case _:
            lines = [b"a", big, b"b"]
    return b"\n".join(lines) + b"\n", ["a", None, "b"]


FORMS = pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "tsv", "conll"])


@FORMS
@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_a_record_that_is_too_big_keeps_its_place(form: str, size: int) -> None:
    data, expected = bomb(form)
    records = read(stdin=Dribble(data, [size] * 10_000), input_format=form, max_record_bytes=100)
    assert texts(records) == expected
    assert problems(records) == [None, "too-big", None]
    assert dict(records[1].fields) == {}
    assert records[1].problem is not None
    assert "--max-record-bytes" in records[1].problem.message
    assert "100 bytes" in records[1].problem.message


def test_a_long_line_of_csv_fails_alone() -> None:
    records = read(stdin=b"text\na\n" + b"x" * 200 + b"\nb\n", input_format="csv", max_record_bytes=100)
    assert texts(records) == ["a", None, "b"]
    assert problems(records) == [None, "too-big", None]


def test_a_quote_that_is_never_closed_ends_as_one_record() -> None:
    data = b'text\na\n"' + b"x\n" * 1000
    (good, bad) = read(stdin=data, input_format="csv", max_record_bytes=100)
    assert (good.text, bad.problem and bad.problem.type) == ("a", "too-big")


def test_the_header_has_the_same_limit() -> None:
    with pytest.raises(InputError, match="larger than 100 bytes"):
        read(stdin=b'"a\n' + b"x\n" * 100 + b'",text\n1,2\n', input_format="csv", max_record_bytes=100)


def test_a_whole_file_has_the_same_limit(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text("x" * 100)
    large.write_text("x" * 101)
    records = read(small, large, whole_files=True, max_record_bytes=100)
    assert problems(records) == [None, "too-big"]
    assert list(records[1].fields) == ["file"]


def test_a_row_of_parquet_has_the_same_limit(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["a", "x" * 200, "b"]}), tmp_path / "a.parquet")
    records = read(tmp_path / "a.parquet", max_record_bytes=100)
    assert problems(records) == [None, "too-big", None]


@given(
    lines=st.lists(st.integers(0, 40), max_size=12),
    cuts=st.lists(st.integers(1, 30), min_size=1),
    last=st.booleans(),
)
def test_only_the_length_of_a_line_counts(lines: list[int], cuts: list[int], last: bool) -> None:
    """However the bytes arrive, exactly the lines of more than 20 bytes are replaced."""
    data = b"\n".join(b"x" * length for length in lines) + b"\n" * last
    stream = Dribble(data, cuts)
    chunks = iter(lambda: stream.read(), b"")
    seen = [line for block in whole_lines(chunks, most=20) for line in split_lines(block)]
    assert [line.startswith(TOO_BIG) for line in seen] == [len(line) > 20 for line in split_lines(data)]
    assert [line for line in seen if not line.startswith(TOO_BIG)] == [
        line for line in split_lines(data) if len(line) <= 20
    ]


def test_a_line_that_spells_the_mark_is_not_text_either() -> None:
    records = read(stdin=b"a\n" + TOO_BIG + b"12\n" + TOO_BIG + b"x\n")
    assert problems(records) == [None, "too-big", "encoding"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["txt", "jsonl", "csv", "conll"])
def test_a_zip_bomb_takes_no_memory(form: str) -> None:
    """A line of 400 MiB in an archive of 400 kB."""
    head = {"txt": b"a\n", "jsonl": b'{"text": "a"}\n', "csv": b'text\na\n"', "conll": b"a O\n\n"}[form]
    packed = gzip.compress(head + b"x" * (100 * MIB), 1)
    packed = packed + gzip.compress(b"x" * (100 * MIB), 1) * 3 + gzip.compress(b"\nb\n")
    source = open_source(
        InputOptions(input_format=form, max_record_bytes=8 * MIB),  # type: ignore[arg-type]
        stdin=io.BytesIO(packed),
        interactive=False,
    )
    tracemalloc.start()
    records = list(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * MIB
    assert "too-big" in problems(records)


def test_what_is_no_parquet_is_not_copied_to_disk() -> None:
    packed = gzip.compress(b"\0" * (50 * MIB), 1)
    with pytest.raises(InputError, match="does not begin like it"):
        read(stdin=packed, input_format="parquet")


def test_a_table_of_a_hundred_thousand_columns_opens_at_once() -> None:
    names = [f"c{number}" for number in range(100_000)]
    data = ",".join([*names, "text"]) + "\n" + ",".join(["1"] * 100_000 + ["a"]) + "\n"
    (record,) = read(stdin=data.encode(), input_format="csv", text_field="text")
    assert record.text == "a"
    with pytest.raises(InputError, match="more than once: 'c7'"):
        read(stdin=data.replace("c8,", "c7,", 1).encode(), input_format="csv", text_field="text")


def test_a_window_of_an_archive_beyond_reason_is_refused() -> None:
    import zstandard

    parameters = zstandard.ZstdCompressionParameters(window_log=31)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(InputError, match="damaged"):
        read(stdin=packed.compress(b"a\n") + packed.flush())
